package node

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entente.example/internal/limit"
)

// A running node warns once a day of certificates that end within limit.CertificateWarning: its people's, and its own if it cannot renew that.
func TestWarnsDaily(t *testing.T) {
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
	if err := h.AddPerson(t.Context(), made, Persona{Name: "alice", Roles: []string{"reader"}}.Person(made)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "keys", "ca.key")); err != nil { // nothing is renewed without it
		t.Fatal(err)
	}
	end := made.Add(limit.CertificateLife)
	for _, c := range []struct {
		now  time.Time
		want int
	}{{end.Add(-10 * 24 * time.Hour), 2}, {end.Add(-limit.CertificateWarning - time.Hour), 0}} {
		var b bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			n := &node{Home: h, log: slog.New(slog.NewTextHandler(&b, nil)), now: func() time.Time { return c.now }}
			n.certificate.Store(&h.Keys.Node)
			go func() { _ = n.sweep(ctx) }()
			time.Sleep(49 * time.Hour)
			cancel()
			synctest.Wait()
		})
		for _, text := range []string{"the node's certificate ends soon", "a person's certificate ends soon"} {
			if got := strings.Count(b.String(), text); got != c.want {
				t.Errorf("at %v: in two days %d times %q, want %d", c.now, got, text, c.want)
			}
		}
	}
}
