package rpc

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

// class of methods that share a rate, since they cost alike. See package limit for the rates.
type class int

const (
	question class = iota // what a node looks up, verifies or signs
	document              // documents, and receipts that return for them
	wholeLog              // what reads all of a log
	classes
)

func classOf(method string) class {
	switch method {
	case ententev1.PeerService_Deliver_FullMethodName, ententev1.PeerService_Return_FullMethodName:
		return document
	case ententev1.PeerService_Reconcile_FullMethodName, ententev1.PeerService_ReadLog_FullMethodName:
		return wholeLog
	}
	return question
}

// pace bounds how often each caller begins a call, by class. It may be used concurrently. Callers are members of the alliance, so there are
// few.
type pace struct {
	mu sync.Mutex
	of map[string]*[classes]*rate.Limiter
}

func newPace() *pace { return &pace{of: map[string]*[classes]*rate.Limiter{}} }

// take gives a fault if the caller of ctx has called too often.
func (p *pace) take(ctx context.Context) error {
	method, _ := grpc.Method(ctx)
	whose, c := CallerFrom(ctx).String(), classOf(method)
	p.mu.Lock()
	limiters := p.of[whose]
	if limiters == nil {
		limiters = &[classes]*rate.Limiter{
			question: rate.NewLimiter(limit.QuestionRate, limit.QuestionBurst),
			document: rate.NewLimiter(limit.DocumentRate, limit.DocumentBurst),
			wholeLog: rate.NewLimiter(limit.WholeLogRate, limit.WholeLogBurst),
		}
		p.of[whose] = limiters
	}
	p.mu.Unlock()
	if l := limiters[c]; !l.AllowN(time.Now(), 1) {
		return fault.New(fault.Transient, "try again later", "%s calls more than %g times a second", whose, float64(l.Limit()))
	}
	return nil
}
