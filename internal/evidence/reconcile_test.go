package evidence_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	firstID  = "01K7XQ3W0V6N2T9R4M5B8C1D2E"
	secondID = "01K7XQ3W0V6N2T9R4M5B8C1D2F"
)

// entries reads words like "released received:2 delivered!later", one leaf each: a kind, then perhaps a colon and the exchange, 1 if
// nothing is said, and perhaps "!id" for another id or "!early" for a clock that is far behind.
func entries(t *testing.T, other, words string) []evidence.Entry {
	t.Helper()
	var list []evidence.Entry
	for i, word := range strings.Fields(words) {
		word, odd, _ := strings.Cut(word, "!")
		kind, exchange, ok := strings.Cut(word, ":")
		if !ok {
			exchange = "1"
		}
		m := statement.HashBytes([]byte(exchange))
		l := statement.Leaf{Version: 1, Kind: statement.EventKind(kind), Time: noon, ID: firstID, Manifest: &m, Peers: []string{other}}
		switch odd {
		case "id":
			l.ID = secondID
		case "early":
			l.Time = noon.Add(-limit.ClockSkew - time.Second)
		}
		raw, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		e, err := evidence.ParseEntry(int64(10*i), raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func book(t *testing.T, member, other, words string) evidence.Book {
	t.Helper()
	return evidence.Book{Member: member, Log: member + "/log/1", Size: 100000, Root: statement.HashBytes([]byte(member)), Entries: entries(t, other, words)}
}

func period() evidence.Period {
	return evidence.Period{Alliance: statement.HashBytes([]byte("charter")), Since: noon.Add(-time.Hour), Until: noon.Add(time.Hour), Created: noon.Add(time.Hour)}
}

// said writes the result as "alpha 1/0/0/0 bravo 1/0/0/0; open: …; only: …; differing: …", where the numbers are matched, open,
// only, differing.
func said(r statement.Reconciliation) string {
	var b strings.Builder
	for _, s := range r.Sides {
		fmt.Fprintf(&b, "%s %d/%d/%d/%d ", s.Member, s.Matched, s.Open, s.Only, s.Differing)
	}
	for _, l := range []struct {
		name string
		list []statement.ReconciledLeaf
	}{{"open", r.Open}, {"only", r.Only}, {"differing", r.Differing}} {
		if len(l.list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:", l.name)
		for _, one := range l.list {
			fmt.Fprintf(&b, " %s.%s", one.Member, one.Kind)
		}
		b.WriteString("; ")
	}
	return strings.TrimRight(b.String(), "; ")
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, alpha, bravo, want string }{
		{"nothing", "", "", "alpha 0/0/0/0 bravo 0/0/0/0"},
		{"delivered", "released delivered", "received", "alpha 2/0/0/0 bravo 1/0/0/0"},
		{"delivered to alpha", "received", "released delivered", "alpha 1/0/0/0 bravo 2/0/0/0"},
		{"refused", "released returned", "refused", "alpha 2/0/0/0 bravo 1/0/0/0"},
		{"opened", "released delivered confirmed", "received opened", "alpha 3/0/0/0 bravo 2/0/0/0"},
		{"undecryptable", "released delivered confirmed", "received undecryptable", "alpha 3/0/0/0 bravo 2/0/0/0"},
		{"expired", "released expired", "", "alpha 2/0/0/0 bravo 0/0/0/0"},
		{"under way", "released", "", "alpha 0/1/0/0 bravo 0/0/0/0 open: alpha.released"},
		{"receipt under way", "released", "received", "alpha 1/0/0/0 bravo 0/1/0/0 open: bravo.received"},
		{"refusal under way", "released", "refused", "alpha 1/0/0/0 bravo 0/1/0/0 open: bravo.refused"},
		{"opening under way", "released delivered", "received opened", "alpha 2/0/0/0 bravo 1/1/0/0 open: bravo.opened"},
		{"recipient hides", "released delivered", "", "alpha 0/0/2/0 bravo 0/0/0/0 only: alpha.released alpha.delivered"},
		{"recipient hides a refusal", "released returned", "", "alpha 0/0/2/0 bravo 0/0/0/0 only: alpha.released alpha.returned"},
		{"recipient hides an opening", "released delivered confirmed", "received", "alpha 2/0/1/0 bravo 1/0/0/0 only: alpha.confirmed"},
		{"sender hides", "", "received opened", "alpha 0/0/0/0 bravo 0/0/2/0 only: bravo.received bravo.opened"},
		{"sender hides the release", "delivered", "received", "alpha 1/0/0/0 bravo 0/0/1/0 only: bravo.received"},
		{"stored, or refused", "released delivered", "refused", "alpha 1/0/0/1 bravo 0/0/0/1 differing: alpha.delivered bravo.refused"},
		{"refused, or stored", "released returned", "received", "alpha 1/0/0/1 bravo 0/0/0/1 differing: alpha.returned bravo.received"},
		{"withheld receipt", "released expired", "received", "alpha 1/0/0/1 bravo 0/0/0/1 differing: alpha.expired bravo.received"},
		{"other id", "released delivered", "received!id", "alpha 0/0/0/2 bravo 0/0/0/1 differing: alpha.released alpha.delivered bravo.received"},
		{"other id, then a fitting outcome", "released!id delivered", "received", "alpha 1/0/0/1 bravo 0/0/0/1 differing: alpha.released bravo.received"},
		{"clock", "released delivered", "received!early", "alpha 1/0/0/1 bravo 0/0/0/1 differing: alpha.released bravo.received"},
		{"opened under another id", "released delivered confirmed", "received opened!id", "alpha 2/0/0/1 bravo 1/0/0/1 differing: alpha.confirmed bravo.opened"},
		{"released twice", "released delivered released", "received", "alpha 2/0/1/0 bravo 1/0/0/0 only: alpha.released"},
		{"received and refused", "released delivered", "received refused", "alpha 2/0/0/0 bravo 1/0/0/1 differing: bravo.refused"},
		{"both are senders", "released", "released", "alpha 0/1/0/0 bravo 0/1/0/0 open: alpha.released bravo.released"},
		{"both ways", "released delivered received:2", "received released:2 delivered:2", "alpha 3/0/0/0 bravo 3/0/0/0"},
		{"exchanges are not mixed", "released delivered", "received:2", "alpha 0/0/2/0 bravo 0/0/1/0 only: alpha.released alpha.delivered bravo.received"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			alpha, bravo := book(t, "alpha", "bravo", c.alpha), book(t, "bravo", "alpha", c.bravo)
			r, err := evidence.Reconcile(period(), alpha, bravo)
			if err != nil {
				t.Fatal(err)
			}
			if got := said(r); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if clean := !strings.Contains(c.want, "only") && !strings.Contains(c.want, "differing"); r.Agrees() != clean {
				t.Errorf("agrees: %v", r.Agrees())
			}
			drawn(t, period(), alpha, bravo)
		})
	}
}

// drawn has both sides compute the text, and compares it byte by byte.
func drawn(t *testing.T, p evidence.Period, alpha, bravo evidence.Book) []byte {
	t.Helper()
	var texts [2][]byte
	for i, books := range [][2]evidence.Book{{alpha, bravo}, {bravo, alpha}} {
		r, err := evidence.Reconcile(p, books[0], books[1])
		if err != nil {
			t.Fatal(err)
		}
		if texts[i], err = statement.Draft(r); err != nil {
			t.Fatal(err)
		}
	}
	if string(texts[0]) != string(texts[1]) {
		t.Errorf("two texts:\n%s\n%s", texts[0], texts[1])
	}
	return texts[0]
}

// Whatever two logs say, each leaf is counted once, the text can be signed, and both come to the same one.
func TestReconcileAnything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		words := func() string {
			var list []string
			for range r.IntN(40) {
				word := string(statement.Reconciled[r.IntN(len(statement.Reconciled))]) + fmt.Sprintf(":%d", r.IntN(6))
				list = append(list, word+[]string{"", "", "", "!id", "!early"}[r.IntN(5)])
			}
			return strings.Join(list, " ")
		}
		alpha, bravo := book(t, "alpha", "bravo", words()), book(t, "bravo", "alpha", words())
		drawn(t, period(), alpha, bravo)
		got, err := evidence.Reconcile(period(), alpha, bravo)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{len(alpha.Entries), len(bravo.Entries)} {
			if s := got.Sides[i]; s.Matched+s.Open+s.Only+s.Differing != int64(n) {
				t.Errorf("seed %d: %+v does not count %d leaves once each", seed, s, n)
			}
		}
	}
}

// The largest reconciliation fits its bound, and counts what it does not list.
func TestReconcileMost(t *testing.T) {
	t.Parallel()
	long := func(letter string) string { return strings.Repeat(letter, limit.MemberName) }
	sided := func(member, other string) evidence.Book {
		b := evidence.Book{Member: member, Log: member + "/log/2147483647", Size: 1 << 62, Root: statement.HashBytes([]byte(member))}
		for i := range limit.ReconcileEntries {
			m := statement.HashBytes(fmt.Appendf(nil, "%s %d", member, i))
			kind := statement.EventUndecryptable
			switch i % 3 {
			case 1:
				kind = statement.EventReleased
			case 2:
				m = statement.HashBytes(fmt.Appendf(nil, "%d", i))
				kind = statement.EventDelivered
				if member > other {
					kind = statement.EventRefused
				}
			}
			b.Entries = append(b.Entries, evidence.Entry{Index: 1<<61 + int64(i), Leaf: statement.Leaf{Version: 1, Kind: kind, Time: noon, ID: firstID, Manifest: &m, Peers: []string{other}}})
		}
		return b
	}
	begun := time.Now()
	raw := drawn(t, period(), sided(long("a"), long("b")), sided(long("b"), long("a")))
	t.Logf("%d bytes, %s", len(raw), time.Since(begun))
	if most := limit.Reconciliation - 2*200; len(raw) > most {
		t.Errorf("it has %d bytes, and with two signatures at most %d", len(raw), most)
	}
	d, err := statement.ParseDraft[statement.Reconciliation](raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]statement.ReconciledLeaf{d.Terms.Open, d.Terms.Only, d.Terms.Differing} {
		if len(list) != limit.ReconcileListed {
			t.Errorf("a list has %d leaves", len(list))
		}
	}
	if s := d.Terms.Sides[0]; s.Only != 3334 || s.Open != 3333 || s.Differing != 3333 {
		t.Errorf("counted %+v", s)
	}
}

func TestReconcileRefusesTheImpossible(t *testing.T) {
	t.Parallel()
	good := book(t, "bravo", "alpha", "received opened")
	for name, edit := range map[string]func(*evidence.Book){
		"both parties":           func(b *evidence.Book) { b.Member = "alpha" },
		"not in the log":         func(b *evidence.Book) { b.Size = 10 },
		"negative":               func(b *evidence.Book) { b.Entries[0].Index = -1 },
		"one leaf twice":         func(b *evidence.Book) { b.Entries[1] = b.Entries[0] },
		"not in order":           func(b *evidence.Book) { slices.Reverse(b.Entries) },
		"about somebody else":    func(b *evidence.Book) { b.Entries[0].Leaf.Peers = []string{"charlie"} },
		"about nobody":           func(b *evidence.Book) { b.Entries[0].Leaf.Peers = nil },
		"about nothing":          func(b *evidence.Book) { b.Entries[0].Leaf.Manifest = nil },
		"without an id":          func(b *evidence.Book) { b.Entries[0].Leaf.ID = "" },
		"of another kind":        func(b *evidence.Book) { b.Entries[0].Leaf.Kind = statement.EventReopened },
		"from the future":        func(b *evidence.Book) { b.Entries[0].Leaf.Time = period().Created.Add(limit.ClockSkew + time.Second) },
		"more than there can be": func(b *evidence.Book) { b.Entries = make([]evidence.Entry, limit.ReconcileEntries+1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := good
			b.Entries = slices.Clone(good.Entries)
			edit(&b)
			r, err := evidence.Reconcile(period(), book(t, "alpha", "bravo", "released"), b)
			if fault.KindOf(err) != fault.Invalid || fault.Hint(err) == "" || !reflect.DeepEqual(r, statement.Reconciliation{}) {
				t.Errorf("got %v, %+v", err, r)
			}
		})
	}
}
