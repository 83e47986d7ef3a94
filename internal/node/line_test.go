package node

import (
	"testing"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Who finds no place stands in line, small and large apart, once, and gets the next one; who finds the line full is looked for when it is empty.
func TestLine(t *testing.T) {
	t.Parallel()
	p := &places{under: map[place]int{}}
	p.anew(map[place]bool{})
	item := func(i int, large bool) fresh {
		return fresh{Outgoing: store.Outgoing{Peer: "bravo", Kind: store.OutgoingDocument, Statement: statement.Hash{byte(i)}, Large: large}}
	}
	taken := 0
	for i := range limit.DeliveriesEach + limit.DueEach + 1 {
		if p.take(item(i, false)) {
			taken++
		}
	}
	if taken != limit.DeliveriesEach || len(p.line[place{"bravo", false}]) != limit.DueEach || !p.wanted(place{"bravo", false}) {
		t.Fatalf("%d have places, %d stand in line", taken, len(p.line[place{"bravo", false}]))
	}
	known := item(limit.DeliveriesEach, false)
	known.document = &document{}
	if p.take(known) || p.take(item(limit.DeliveriesEach, false)) || len(p.line[place{"bravo", false}]) != limit.DueEach {
		t.Error("one stands in line twice")
	}
	if !p.take(item(100, true)) || p.take(item(101, true)) || p.wanted(place{"bravo", true}) {
		t.Error("one large document has no place beside the small ones, or two have")
	}
	if !p.take(fresh{Outgoing: store.Outgoing{Peer: "charlie"}}) {
		t.Error("another peer has no place")
	}
	for i := range limit.DueEach {
		next, ok, wanted := p.leave(place{"bravo", false})
		if want := item(limit.DeliveriesEach+i, false); !ok || wanted || next.name() != want.name() || (next.document != nil) != (i == 0) {
			t.Errorf("step %d: %v, %s, wanted: %v; expected %s", i, ok, next.name(), wanted, want.name())
		}
	}
	// The line of the small ones is empty: the large one's turn, and the rest is to be looked for.
	if next, ok, wanted := p.leave(place{"bravo", false}); !ok || !wanted || next.name() != item(101, true).name() {
		t.Errorf("%v, %s, wanted: %v; expected %s", ok, next.name(), wanted, item(101, true).name())
	}
	if _, ok, wanted := p.leave(place{"bravo", true}); ok || !wanted {
		t.Errorf("nobody stands in line: %v, wanted: %v", ok, wanted)
	}
}
