package rpc

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/tap"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/metrics"
)

// door bounds what one caller has open before a byte of any message is read. gRPC reads the message of a unary call whole before it asks any
// interceptor: without the door, a peer could have one begun on every stream of every connection, and leave it there.
type door struct {
	streams *quota // open, by caller, over all its connections
	outside bool
	seldom  *Seldom
}

func newDoor(log *slog.Logger, outside bool) *door {
	return &door{streams: newQuota(limit.PeerStreams, (*metrics.Calls)(nil).Open("", "")), outside: outside, seldom: NewSeldom(log)}
}

type arrivalKey struct{}

// open is asked for every stream when its headers have come. The stream counts until it ends.
func (d *door) open(ctx context.Context, info *tap.Info) (context.Context, error) {
	cs, err := connection(ctx)
	if err != nil {
		return nil, toStatus(fault.New(fault.Forbidden, "", "%w", err), d.outside)
	}
	// The handshake has judged this certificate. Whether its owner may still call is judged before the call is handled.
	whose := identity.Claimed(cs)
	if !d.streams.enter(whose) {
		err := tooMany(whose, "calls", limit.PeerStreams)
		d.seldom.Write(slog.LevelWarn, "refused call", whose+" streams", "peer", whose, "grpc.method", clip(printable(info.FullMethodName), mostMethod), "grpc.error", err.Error())
		return nil, toStatus(err, d.outside)
	}
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(limit.ProgressTime, func() {
		d.seldom.Write(slog.LevelWarn, "cut a call whose message did not arrive", whose+" arrival", "peer", whose, "grpc.method", clip(printable(info.FullMethodName), mostMethod))
		cancel()
	})
	context.AfterFunc(ctx, func() {
		late.Stop()
		d.streams.leave(whose)
	})
	return context.WithValue(ctx, arrivalKey{}, late), nil
}

// mostMethod bounds the name of a method in the log: a caller may name any.
const mostMethod = 200

// arrived says that the call's message is here, or that watch looks after it from now on.
func arrived(ctx context.Context) {
	if late, ok := ctx.Value(arrivalKey{}).(*time.Timer); ok {
		late.Stop()
	}
}
