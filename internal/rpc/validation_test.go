package rpc

import (
	"context"
	"strings"
	"testing"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

// TestValidation sends messages that break the rules of the .proto files.
func TestValidation(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	reached := make(chan string, 8)
	w.parties["alpha"].handlers.ret = func(context.Context, *ententev1.ReturnRequest) error {
		reached <- "Return"
		return nil
	}
	w.parties["alpha"].handlers.deliver = func(s ententev1.PeerService_DeliverServer) error {
		_, err := s.Recv()
		if err == nil {
			reached <- "Deliver"
		}
		return err
	}
	client := w.dialPeer("bravo", "alpha")
	_, err := client.Return(t.Context(), &ententev1.ReturnRequest{})
	wantFault(t, err, fault.Invalid, "receipt", "")
	_, err = client.Return(t.Context(), &ententev1.ReturnRequest{Receipt: make([]byte, limit.Statement+1)})
	wantFault(t, err, fault.Invalid, "receipt", "")
	for _, r := range []*ententev1.DeliverRequest{
		{},
		{Part: &ententev1.DeliverRequest_Chunk{}},
		{Part: &ententev1.DeliverRequest_Chunk{Chunk: make([]byte, limit.Chunk+1)}},
		{Part: &ententev1.DeliverRequest_Offer{Offer: &ententev1.Offer{Manifest: []byte("m")}}},
	} {
		s, err := client.Deliver(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
		_, err = s.Recv()
		wantFault(t, err, fault.Invalid, "validation error", "")
	}
	// Whatever a message breaks, and however often, its sender can read what, and nothing of it grows with the message.
	for name, test := range map[string]struct {
		to   []string
		want string
	}{
		"too many, each of them empty":        {make([]string, limit.Members+1), "to: must contain no more than 64 item(s); "},
		"too long":                            {[]string{strings.Repeat("é", limit.Line)}, "to[0]: must be at most 32 characters"},
		"as many as a message holds, all bad": {make([]string, 100_000), "; and "},
	} {
		_, err := client.Rehearse(t.Context(), &ententev1.RehearseRequest{To: test.to})
		wantFault(t, err, fault.Invalid, "validation error: ", "")
		if text := err.Error(); !strings.Contains(text, test.want) || len(text) > 600 || strings.ContainsRune(text, '\uFFFD') {
			t.Errorf("%s: answered with %d bytes: %s", name, len(text), text)
		}
	}
	if len(reached) > 0 {
		t.Errorf("reached the handler: %s", <-reached)
	}
}
