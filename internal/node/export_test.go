package node

import (
	"context"
	"log/slog"
	"time"

	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Current judges the keys of a signature as a node does online.
var Current = current

// Attempt makes one attempt at an item as the outbox read it, however long ago that was.
func (h *Home) Attempt(ctx context.Context, o store.Outgoing) {
	n := newNode(h, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	n.attempt(ctx, fresh{Outgoing: o})
}

// AskOutside brings one request to an outside witness.
func AskOutside(ctx context.Context, w statement.OutsideWitness, request []byte) (*ententev1.WitnessResponse, error) {
	o := newOutside()
	defer o.close()
	return o.ask(ctx, w, request)
}

// LookSeldom has a node look only once in d whether another program has changed its home, so that days of virtual time pass in seconds.
func (o *Options) LookSeldom(d time.Duration) { o.look = d }
