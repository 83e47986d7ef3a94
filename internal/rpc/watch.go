package rpc

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// watch makes a stream judge its caller again every limit.StandingCheck while it is open, also while it waits, and end
// when the caller moves too little. An interceptor alone runs once for a stream, and a long upload would outlive the
// expulsion of whoever uploads.
func watch(s grpc.ServerStream, judge func() error) grpc.ServerStream {
	return &watched{ServerStream: s,
		in:  guard{judge: judge, moving: true, judged: time.Now()},
		out: guard{judge: judge, moving: true, judged: time.Now()},
	}
}

type watched struct {
	grpc.ServerStream
	in, out guard
}

// RecvMsg waits for the next message, and gives up if the caller may not go on or stalls. After an error m must not be
// used.
func (w *watched) RecvMsg(m any) error { return w.in.do(w.ServerStream.RecvMsg, m) }

// SendMsg waits until the message can be sent, and gives up in the same way.
func (w *watched) SendMsg(m any) error { return w.out.do(w.ServerStream.SendMsg, m) }

// guard watches one direction of a stream. gRPC allows one call at a time in each direction, and so does guard.
//
// While we wait, the other side owes limit.ProgressBytes in every limit.ProgressTime. The time that we ourselves take
// between two messages is not counted.
type guard struct {
	judge  func() error // may the other side go on?
	moving bool         // does it owe progress?
	judged time.Time
	waited time.Duration // since limit.ProgressBytes were complete
	bytes  int           // moved in that time
}

// do performs one send or receive. When it gives up, the operation itself goes on in the background until the stream
// ends, which it does as soon as the handler returns or the call is cancelled.
func (g *guard) do(op func(any) error, m any) error {
	if err := g.look(0); err != nil {
		return err
	}
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- safely(op, m) }()
	tick := time.NewTicker(limit.StandingCheck)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				g.moved(m, time.Since(begun))
			}
			return err
		case <-tick.C:
			if err := g.look(time.Since(begun)); err != nil {
				return err
			}
		}
	}
}

// look judges if it is time to, and finds a stall. waiting is how long the operation under way has taken.
func (g *guard) look(waiting time.Duration) error {
	if time.Since(g.judged) >= limit.StandingCheck {
		if err := g.judge(); err != nil {
			return err
		}
		g.judged = time.Now()
	}
	if g.moving && g.waited+waiting > limit.ProgressTime {
		return fault.New(fault.Transient, "", "the other side moved less than %d KiB in %s", limit.ProgressBytes>>10, limit.ProgressTime)
	}
	return nil
}

func (g *guard) moved(m any, took time.Duration) {
	g.waited += took
	if m, ok := m.(proto.Message); ok {
		g.bytes += proto.Size(m)
	}
	if g.bytes >= limit.ProgressBytes {
		g.bytes, g.waited = 0, 0
	}
}

// safely turns a panic into an error: in a goroutine of its own nobody else would recover it.
func safely(op func(any) error, m any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in stream: %v", p)
		}
	}()
	return op(m)
}
