package node_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/store"
)

// blob is the path of a document's payload at a member.
func (w *world) blob(m string, manifest string) string {
	return filepath.Join(w.Home(m), "blobs", manifest[:2], manifest)
}

// manifestOf gives the hash of an exchange's manifest, as a member has it.
func (w *world) manifestOf(m, ref string) string {
	w.t.Helper()
	var e store.Exchange
	err := w.reader(m).DB.View(w.t.Context(), func(v *store.View) (err error) { e, err = v.FindExchange(ref); return err })
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Manifest.String()
}

// awaitDamage waits until a member's check has found so much about one document, and gives it.
func (w *world) awaitDamage(m, manifest string, want int) (list []node.Damaged) {
	w.t.Helper()
	h := w.reader(m)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		d, err := h.Damage()
		if err != nil {
			w.t.Fatal(err)
		}
		list = nil
		for _, one := range d.List {
			if one.Manifest == manifest {
				list = append(list, one)
			}
		}
		if len(list) == want && !d.Checked.IsZero() {
			return list
		}
	}
	w.t.Fatalf("%s has found %v about %s, want %d", m, list, manifest, want)
	return nil
}

func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedDocumentIsKeptApart: a flipped bit in what bravo received, while its node runs, and in what alpha still has to deliver, while its node
// is down. Neither is served, the others are, and both are again when the bytes are back.
func TestDamagedDocumentIsKeptApart(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	bad, good := w.send("alpha", submission("bravo"), bytes.Repeat([]byte("x"), 100_000))[0], w.send("alpha", submission("bravo"), []byte("good"))[0]
	w.await("alpha", bad, "delivered")
	w.await("alpha", good, "delivered")
	received := w.blob("bravo", w.manifestOf("bravo", bad))
	sound, err := os.ReadFile(received)
	if err != nil {
		t.Fatal(err)
	}
	w.stop("bravo")
	queued, other := w.send("alpha", submission("bravo"), random(40_000))[0], w.send("alpha", submission("bravo"), []byte("sent too"))[0]
	w.stop("alpha")
	waiting := w.blob("alpha", w.manifestOf("alpha", queued))
	unsent, err := os.ReadFile(waiting)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, waiting)
	w.start("alpha")
	what := w.awaitDamage("alpha", w.manifestOf("alpha", queued), 1)
	if !strings.Contains(what[0].What, "its bytes were changed") {
		t.Errorf("it says %q", what[0].What)
	}
	has(t, w.scrape("alpha"), "entente_damaged_objects 1")
	w.start("bravo")
	flip(t, received) // under the running node
	w.await("alpha", other, "delivered")
	w.awaitDamage("bravo", w.manifestOf("bravo", bad), 1)
	if got, err := open(t.Context(), w.person("bravo"), bad); fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "kept apart") || len(got) > 0 {
		t.Errorf("the damaged document gives %d bytes and %v", len(got), err)
	}
	if got, err := open(t.Context(), w.person("bravo"), good); err != nil || string(got) != "good" {
		t.Errorf("the sound document gives %q, %v", got, err)
	}
	if x := w.await("alpha", queued, "queued"); !strings.Contains(x.GetLastError(), "kept apart") {
		t.Errorf("what waits says %q", x.GetLastError())
	}
	// A restart forgets nothing.
	w.stop("bravo")
	w.start("bravo")
	if _, err := open(t.Context(), w.person("bravo"), bad); fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "kept apart") {
		t.Errorf("after a restart: %v", err)
	}
	// VerifyHome finds the same.
	r, err := w.reader("bravo").VerifyLog(t.Context())
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "its bytes were changed") {
		t.Errorf("audit verify says %v, %v", r.Problems, err)
	}
	// Brought back from a backup.
	for path, content := range map[string][]byte{received: sound, waiting: unsent} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitDamage("bravo", w.manifestOf("bravo", bad), 0)
	if got, err := open(t.Context(), w.person("bravo"), bad); err != nil || len(got) != 100_000 {
		t.Errorf("the repaired document gives %d bytes, %v", len(got), err)
	}
	w.await("alpha", queued, "delivered")
}

// TestDamagedRowIsKeptApart changes rows behind the node's back. Each is found, and only what it is about is kept apart.
func TestDamagedRowIsKeptApart(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.damaged = true
	w.start("alpha", "bravo")
	var refs []string
	for _, text := range []string{"one", "two", "three"} {
		refs = append(refs, w.send("alpha", submission("bravo"), []byte(text))[0])
	}
	for _, ref := range refs {
		w.await("alpha", ref, "delivered")
	}
	w.stop("bravo")
	bad, worse := w.manifestOf("bravo", refs[0]), w.manifestOf("bravo", refs[2])
	w.edit("bravo", "UPDATE manifest SET size = size + 1 WHERE sha256 = x'"+bad+"'")
	w.edit("bravo", "UPDATE manifest SET payload = zeroblob(length(payload)) WHERE sha256 = x'"+worse+"'")
	w.start("bravo")
	w.awaitDamage("bravo", bad, 1)
	w.awaitDamage("bravo", worse, 1)
	for _, ref := range []string{refs[0], refs[2]} {
		if _, err := open(t.Context(), w.person("bravo"), ref); fault.KindOf(err) != fault.Failed {
			t.Errorf("a document whose row was changed: %v", err)
		}
	}
	if got, err := open(t.Context(), w.person("bravo"), refs[1]); err != nil || string(got) != "two" {
		t.Errorf("the other: %q, %v", got, err)
	}
	d, err := w.reader("bravo").Damage()
	if err != nil || len(d.List) != 2 {
		t.Errorf("in all: %v, %v", d.List, err)
	}
}
