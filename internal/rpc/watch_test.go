package rpc

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

// slowStream gives messages of a size after a pause, and is as nasty as a peer can be: it never gives up itself.
type slowStream struct {
	grpc.ServerStream
	ctx   context.Context
	pause time.Duration
	size  int
}

func (s *slowStream) wait() error {
	select {
	case <-time.After(s.pause):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *slowStream) RecvMsg(m any) error {
	if err := s.wait(); err != nil {
		return err
	}
	m.(*ententev1.DeliverRequest).Part = &ententev1.DeliverRequest_Chunk{Chunk: make([]byte, s.size)}
	return nil
}

func (s *slowStream) SendMsg(any) error { return s.wait() }

var allowed = func() error { return nil }

// watching runs f in a bubble of its own time, with a stream that is watched.
func watching(t *testing.T, s *slowStream, judge func() error, f func(t *testing.T, w grpc.ServerStream, begun time.Time)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var end context.CancelFunc
		s.ctx, end = context.WithCancel(context.Background())
		defer end() // as when the handler returns
		f(t, watch(s, judge), time.Now())
	})
}

func TestStalledStream(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pause time.Duration
		size  int
		cut   bool
	}{
		"nothing at all":             {time.Hour, 0, true},
		"one byte a second":          {time.Second, 1, true},
		"one byte at a time, hourly": {time.Hour, 1, true},
		"just too little":            {10 * time.Second, limit.ProgressBytes / 4, true},
		"just enough":                {10 * time.Second, limit.ProgressBytes / 3, false},
		"one large chunk, late":      {limit.ProgressTime - time.Second, limit.Chunk, false},
		"fast":                       {time.Millisecond, limit.Chunk, false},
	} {
		watching(t, &slowStream{pause: test.pause, size: test.size}, allowed, func(t *testing.T, w grpc.ServerStream, begun time.Time) {
			var err error
			for n := 0; err == nil && n < 1000; n++ {
				err = w.RecvMsg(&ententev1.DeliverRequest{})
			}
			if cut := err != nil; cut != test.cut || cut && fault.KindOf(err) != fault.Transient {
				t.Errorf("%s: got %v", name, err)
			}
			if took := time.Since(begun); test.cut && took > limit.ProgressTime+10*time.Second {
				t.Errorf("%s: cut only after %s", name, took)
			}
		})
	}
}

func TestStalledReader(t *testing.T) {
	t.Parallel()
	watching(t, &slowStream{pause: time.Hour}, allowed, func(t *testing.T, w grpc.ServerStream, begun time.Time) {
		err := w.SendMsg(&ententev1.DeliverResponse{})
		wantFault(t, err, fault.Transient, "the other side moved less than 64 KiB in 30s", "")
		if took := time.Since(begun); took > limit.ProgressTime+limit.StandingCheck {
			t.Errorf("cut only after %s", took)
		}
	})
}

// TestOurOwnSlowness takes an hour between two messages: that is not the other side's fault.
func TestOurOwnSlowness(t *testing.T) {
	t.Parallel()
	watching(t, &slowStream{pause: time.Second, size: 1}, allowed, func(t *testing.T, w grpc.ServerStream, _ time.Time) {
		for range 10 {
			if err := w.RecvMsg(&ententev1.DeliverRequest{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
	})
}

// TestExpelledWhileOpen judges while a message is waited for, and while messages come too fast for any pause.
func TestExpelledWhileOpen(t *testing.T) {
	t.Parallel()
	expulsion := errors.New("expelled")
	for name, s := range map[string]*slowStream{"idle": {pause: 20 * time.Second, size: limit.Chunk}, "busy": {pause: 100 * time.Millisecond, size: limit.ProgressBytes}} {
		var expelled time.Time
		judge := func() error {
			if !expelled.IsZero() && !time.Now().Before(expelled) {
				return expulsion
			}
			return nil
		}
		watching(t, s, judge, func(t *testing.T, w grpc.ServerStream, begun time.Time) {
			expelled = begun.Add(time.Minute)
			var err error
			for err == nil && time.Since(begun) < time.Hour {
				err = w.RecvMsg(&ententev1.DeliverRequest{})
			}
			if after := time.Since(expelled); !errors.Is(err, expulsion) || after < 0 || after > limit.StandingCheck {
				t.Errorf("%s: %v, %s after the expulsion", name, err, after)
			}
		})
		expelled = time.Time{}
	}
}

// TestPanicInStream panics below the watch, in a goroutine where no interceptor would recover it.
func TestPanicInStream(t *testing.T) {
	t.Parallel()
	g := &guard{judge: allowed, judged: time.Now()}
	if err := g.do(func(any) error { panic("boom") }, nil); err == nil {
		t.Error("no error")
	}
	if err := g.do(func(any) error { return io.EOF }, nil); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
