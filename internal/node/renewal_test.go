package node

import (
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/store"
)

// TestRenewalAndClocks has clocks that are wrong: a good certificate is not replaced by one from long ago, and one that was made in the future is replaced
// as soon as somebody is to be shown it.
func TestRenewalAndClocks(t *testing.T) {
	t.Parallel()
	made := time.Now()
	dir := filepath.Join(t.TempDir(), "alpha")
	if _, err := Init(t.Context(), dir, InitOptions{Member: "alpha", Address: "127.0.0.1:7443", Now: made}); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHome(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	now := made
	fresh := func() *node {
		return newNode(h, Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	}
	n := fresh()
	first := n.shown()

	now = time.Unix(0, 0)
	n.renew()
	if n.shown() != first {
		t.Error("a clock that starts in 1970 replaced the certificate")
	}
	now = made.Add(3 * limit.CertificateLife)
	n = fresh()
	n.renew()
	ahead := n.shown()
	if ahead == first || ahead.Leaf.NotBefore.Before(made.Add(limit.CertificateLife)) {
		t.Fatalf("the certificate begins %s", ahead.Leaf.NotBefore)
	}
	now = made.Add(time.Hour)
	if n.shown() != ahead {
		t.Error("it was renewed again within a minute")
	}
	n.renewTried = time.Now().Add(-limit.RetryMost)
	if c := n.shown(); c.Leaf.NotBefore.After(now) || c.Leaf.NotAfter.Before(now.Add(limit.CertificateLife-time.Hour)) {
		t.Errorf("when the clock is right again, the certificate is for %s to %s", c.Leaf.NotBefore, c.Leaf.NotAfter)
	}
}

// TestUnreadableOutbox has the database fail when an attempt looks whether its item still waits: that is no reason to think that it does not.
func TestUnreadableOutbox(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "alpha")
	if _, err := Init(t.Context(), dir, InitOptions{Member: "alpha", Address: "127.0.0.1:7443", Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHome(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	n := newNode(h, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	item := fresh{Outgoing: store.Outgoing{Peer: "bravo", Kind: store.OutgoingDocument}, document: &document{}}
	if _, err := n.outgoing(t.Context(), item); !errors.Is(err, errSettled) {
		t.Errorf("what is not there: %v", err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE outbox RENAME TO elsewhere"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.outgoing(t.Context(), item); err == nil || errors.Is(err, errSettled) {
		t.Errorf("what cannot be read: %v", err)
	}
}
