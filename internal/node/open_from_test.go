package node_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	ententev1 "entente.example/proto/entente/v1"
)

// TestOpenGoesOn opens a document over a line that is cut again and again, at once and from what an earlier program has kept. Each stream is decided
// and written down for itself, and together they bring each byte once.
func TestOpenGoesOn(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	doc := random(5 << 20)
	ref := w.send("alpha", submission("bravo"), doc)[0]
	w.await("alpha", ref, "delivered")
	bob, line := w.personOnBadLine("bravo")
	before := w.state("bravo")
	line.set("limit_data", fmt.Sprintf(`"bytes":%d`, 1<<20))
	got, err := open(t.Context(), bob, ref)
	if err != nil || !bytes.Equal(got, doc) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(doc), err)
	}
	opened := w.state("bravo").kinds(len(before.leaves))
	if !strings.HasPrefix(opened, "opened reopened reopened reopened") || strings.Count(opened, "opened") > 20 {
		t.Errorf("leaves %q", opened)
	}
	line.heal()

	from := func(beginning []byte) ([]byte, error) {
		var rest bytes.Buffer
		_, err := bob.OpenFrom(t.Context(), ref, bytes.NewReader(beginning), func(*ententev1.Opened) (io.Writer, error) { return &rest, nil })
		return rest.Bytes(), err
	}
	for _, at := range []int{1, 1 << 20, len(doc) - 1, len(doc)} {
		if rest, err := from(doc[:at]); err != nil || !bytes.Equal(rest, doc[at:]) {
			t.Errorf("from %d: %d bytes, %v", at, len(rest), err)
		}
	}
	changed := bytes.Clone(doc[:1<<20])
	changed[7] ^= 1
	_, err = from(changed)
	wantFault(t, err, fault.Failed, "not the document that the node has verified")
	count := len(w.state("bravo").leaves)
	rest, err := from(append(bytes.Clone(doc), 0))
	wantFault(t, err, fault.Misused, fmt.Sprintf("has %d bytes, and cannot go on at byte %d", len(doc), len(doc)+1))
	if more := w.state("bravo").kinds(count); more != "" || len(rest) > 0 {
		t.Errorf("beyond the end: %d bytes, leaves %q", len(rest), more)
	}
}

// TestOpenGivesUp: a line that carries nothing any more ends it after a few attempts, and with an error after which there is something to go on with.
func TestOpenGivesUp(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	ref := w.send("alpha", submission("bravo"), random(16<<20))[0]
	w.await("alpha", ref, "delivered")
	bob, line := w.personOnBadLine("bravo")
	size := 0
	_, err := bob.Open(t.Context(), ref, func(*ententev1.Opened) (io.Writer, error) {
		return writerFunc(func(b []byte) (int, error) {
			size += len(b)
			line.proxy.Stop()
			return len(b), nil
		}), nil
	})
	if fault.KindOf(err) != fault.Transient || size == 0 || size >= 16<<20 {
		t.Errorf("after %d bytes: %v", size, err)
	}
}

// personOnBadLine is person, over a line that can be made bad.
func (w *world) personOnBadLine(m string) (*client.Client, *badLine) {
	w.t.Helper()
	_, people := w.Addresses(m)
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), m, "127.0.0.1:0", people)
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Stop)
	c, err := client.Dial(w.Home(m), m, p.Listen, w.Person(m))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c, &badLine{w.t, p}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
