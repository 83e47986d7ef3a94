//go:build !windows

// On Windows a file with a hole takes the room of a whole one.

package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// Stopping does not wait until a large part that is there from before has been read, which takes far longer than it may.
func TestStopWhileReadingStaged(t *testing.T) {
	t.Parallel()
	const size = 30 << 30
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	d := w.document("alpha", []string{"bravo"}, "a document")
	d.m.Content.CiphertextSize = size + 1
	w.sign(d)
	hash, err := statement.HashOf(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	staged := filepath.Join(w.Home("bravo"), "staging", "receiving-05-alpha-"+hash.String())
	if err := errors.Join(os.WriteFile(staged, nil, 0o600), os.Truncate(staged, size)); err != nil {
		t.Fatal(err)
	}
	s, err := alpha.conn.Deliver(t.Context())
	if err == nil {
		err = s.Send(offerOf(d))
	}
	if err != nil {
		t.Fatal(err)
	}
	busy := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := alpha.offer(ctx, d)
		f, ok := errors.AsType[*fault.Error](err)
		return ok && strings.Contains(f.Text, "being delivered right now")
	}
	if !eventually(busy) {
		t.Fatal("bravo does not read the staged part")
	}
	begun := time.Now()
	w.stop("bravo")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if err := os.Remove(staged); err != nil {
		t.Error(err)
	}
}
