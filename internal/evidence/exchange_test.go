package evidence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/statement"
)

func claimsOf(v Verdict) string {
	var names []string
	for _, c := range v.Claims {
		names = append(names, c.Claim)
	}
	return strings.Join(names, " ")
}

func TestExchange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		tell   func(s *story)
		claims string
		not    []string // what it says is not proved, in part
	}{
		{"opened", func(*story) {}, "released stored delivered opened", []string{"What the document says: the file does not open"}},
		{"refused", func(s *story) { s.outcome = []statement.ReceiptKind{statement.Refused} }, "released refused", nil},
		{"refused by whom it does not name", func(s *story) { s.to, s.outcome = "charlie", []statement.ReceiptKind{statement.Refused} }, "released refused",
			[]string{"That it was meant for bravo"}},
		{"undecryptable", func(s *story) { s.outcome = []statement.ReceiptKind{statement.Stored, statement.Undecryptable} }, "released stored delivered undecryptable", nil},
		{"expired", func(s *story) { s.outcome, s.expired = nil, true }, "released expired", []string{"is the word of alpha alone", "neither a receipt nor a leaf of it"}},
		{"only released", func(s *story) { s.outcome = nil }, "released", []string{"neither a receipt nor a leaf of it"}},
		{"content", func(s *story) { s.content = true }, "released stored delivered opened content", []string{"give it with its name and media type"}},
		{"bravo silent", func(s *story) { s.leaveOut = "bravo" }, "released stored delivered opened", []string{"its log is not in the file, only its signed receipts"}},
		{"alpha silent", func(s *story) { s.leaveOut = "alpha" }, "stored opened", []string{"only its signature under the manifest"}},
		{"a party witnessed", func(s *story) { s.witness = []string{"alpha", "bravo"} }, "released stored delivered opened", []string{"only a party witnessed"}},
		{"nobody witnessed", func(s *story) { s.witness = nil }, "released stored delivered opened", []string{"When it was released: no quorum"}},
		{"prose with markers", func(s *story) { s.prose = "Before.\n-- manifest --\nAfter.\n" }, "released stored delivered opened", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "alpha", "bravo", "charlie")
			s := w.usual()
			c.tell(&s)
			raw := w.build(w.tell(s))
			v := Verify(raw, w.options())
			if !v.Valid || v.Why != "" {
				t.Fatalf("not valid: %s", v.Why)
			}
			if claimsOf(v) != c.claims {
				t.Errorf("it claims %s, want %s", claimsOf(v), c.claims)
			}
			for _, want := range c.not {
				if !slices.ContainsFunc(v.NotProved, func(n string) bool { return strings.Contains(n, want) }) {
					t.Errorf("it does not say %q, but %q", want, v.NotProved)
				}
			}
			if (s.prose != "") != strings.Contains(string(raw), "\n-- agreement.base64 --\n") {
				t.Error("the agreement is in base64 if and only if it holds a marker")
			}
			if v.Exchange == nil || v.Exchange.ID != s.id || v.Version != 1 || len(v.Cards) != 3 {
				t.Errorf("what it is about: %+v", v)
			}
			if got := strings.Contains(strings.Join(v.Anchored, " "), "manifest"); got != (s.witness != nil) {
				t.Errorf("anchored: %q", v.Anchored)
			}
		})
	}
}

// Whom a manifest does not name is no recipient of it, whatever that member signs.
func TestNoRecipient(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string][]statement.ReceiptKind{
		"stored": {statement.Stored}, "opened": {statement.Opened}, "refused and stored": {statement.Refused, statement.Stored}, "silent": nil,
	} {
		w := newWorld(t, "alpha", "bravo", "charlie")
		s := w.usual()
		s.to, s.outcome = "charlie", outcome
		if _, v, err := w.tell(s).Build(now); err == nil || v.Valid || !strings.Contains(err.Error(), "not among the recipients") {
			t.Errorf("%s: %v, %+v", name, err, v)
		}
	}
}

// Evidence of what the agreement does not allow is evidence, and says so: nobody may take it for a proof that it was allowed.
func TestBreach(t *testing.T) {
	t.Parallel()
	for says, breach := range map[string]func(m *statement.Manifest){
		"":                                   func(*statement.Manifest) {},
		"does not list the purpose exercise": func(m *statement.Manifest) { m.Purpose = "exercise" },
		"harbour-watch allows 90 days":       func(m *statement.Manifest) { m.RetainUntil = m.RetainUntil.Add(time.Second) },
		"was in force from":                  func(m *statement.Manifest) { m.Created = founded.Add(-time.Second) },
		"charlie is no party":                func(m *statement.Manifest) { m.To = []string{"charlie"} },
	} {
		w := newWorld(t, "alpha", "bravo", "charlie")
		s := w.usual()
		s.breach, s.outcome = breach, nil
		if says == "charlie is no party" {
			s.to = "charlie"
		}
		told := w.tell(s)
		told.Recipient = s.to
		_, v, err := told.Build(now)
		must(t, err)
		const begins = "That the agreement covers it: "
		notes := slices.DeleteFunc(v.NotProved, func(n string) bool { return !strings.HasPrefix(n, begins) })
		if want := says != ""; !v.Valid || (len(notes) > 0) != want || want && !strings.Contains(strings.Join(notes, " "), says) {
			t.Errorf("%q: valid %v, %q", says, v.Valid, notes)
		}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	s := w.usual()
	s.content = true
	raw := w.build(w.tell(s))
	s.id, s.content = "01K7XQ3W0V6N2T9R4M5B8C1D2F", false
	without := w.build(w.tell(s))
	for _, c := range []struct {
		name                 string
		raw                  []byte
		document, file, kind string
		valid                bool
	}{
		{"the document", raw, document, documentName, documentType, true},
		{"another document", raw, "All quiet in the harbour!\n", documentName, documentType, false},
		{"cut off", raw, document[:5], documentName, documentType, false},
		{"another name", raw, document, "other.txt", documentType, false},
		{"no name", raw, document, "", documentType, false},
		{"another type", raw, document, documentName, "text/html", false},
		{"not opened", without, document, documentName, documentType, false},
	} {
		o := w.options()
		o.Document, o.Name, o.MediaType = strings.NewReader(c.document), c.file, c.kind
		v := Verify(c.raw, o)
		if v.Valid != c.valid {
			t.Errorf("%s: valid is %v: %s", c.name, v.Valid, v.Why)
		}
		if c.valid && !strings.Contains(v.Text(), "The document given, with its name and media type, is exactly") {
			t.Errorf("%s:\n%s", c.name, v.Text())
		}
	}
}

// Without the founding charter's hash, or with another, nothing is valid.
func TestTrustBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	raw := w.build(w.tell(w.usual()))
	for name, o := range map[string]Options{
		"no charter":      {Now: now},
		"another charter": {Charter: statement.HashBytes([]byte("another")), Now: now},
		"no time":         {Charter: w.h.Alliance()},
		"nothing":         {},
	} {
		v := Verify(raw, o)
		if v.Valid || v.Claims != nil || v.Named != w.h.Alliance() || !strings.HasPrefix(v.Text(), "NOT VALID: ") {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := (Verdict{}); v.Valid || !strings.HasPrefix(v.Text(), "NOT VALID") {
		t.Error("the zero verdict is valid")
	}
}

func TestPanicIsNotValid(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "charlie")
	raw := w.build(w.tell(w.usual()))
	hook = func() { panic("on purpose") }
	defer func() { hook = nil }()
	if v := Verify(raw, w.options()); v.Valid || v.Why == "" {
		t.Errorf("%+v", v)
	}
}

// What counts is when witnesses saw a leaf, not what anybody says.
func TestWitnessedTime(t *testing.T) {
	t.Parallel()
	lose := func(k func(p *party) string, since time.Time, change func(p *party)) func(w *world) {
		return func(w *world) {
			w.renew("alpha", at(24*60), func(p *party) {
				p.card.Compromised = []statement.CompromisedKey{{Key: k(p), Since: since}}
				change(p)
			})
		}
	}
	statementKey := func(p *party) string { return p.statement.Public }
	newStatement := func(p *party) { p.statement = key(p.tb, "alpha/statement", "second") }
	for _, c := range []struct {
		name  string
		tell  func(s *story)
		after func(w *world)
		why   string // why it is not valid; empty if it is
	}{
		{"key compromised later", func(*story) {}, lose(statementKey, at(60), newStatement), ""},
		{"key compromised before, whatever time it claims", func(s *story) { s.delay = 2 * time.Hour }, lose(statementKey, at(60), newStatement), "compromised since"},
		{"the very second", func(s *story) { s.delay = time.Hour }, lose(statementKey, at(60), newStatement), "compromised since"},
		{"a second before", func(s *story) { s.delay = time.Hour - time.Second }, lose(statementKey, at(60), newStatement), ""},
		{"compromised, not witnessed", func(s *story) { s.witness = nil }, lose(statementKey, at(60), newStatement), "no quorum of witnesses saw it before"},
		{"replaced", func(*story) {}, func(w *world) { w.renew("alpha", at(60), newStatement) }, ""},
		{"replaced, not witnessed", func(s *story) { s.witness = nil }, func(w *world) { w.renew("alpha", at(60), newStatement) }, "out of use since"},
		{"replaced, used when it was long retired", func(s *story) { s.created = at(60 * 24 * 31) }, func(w *world) { w.renew("alpha", at(-1), newStatement) }, "out of use since"},
		{"log key compromised later", func(*story) {}, lose(func(p *party) string { return p.logPQ.Public }, at(60), newLog), ""},
		{"log key compromised, and only the other party saw the leaf before", func(s *story) { s.witness = []string{"alpha", "bravo"} },
			lose(func(p *party) string { return p.log.Public }, at(60), newLog), "the word of the other party alone"},
		{"log key compromised before", func(s *story) { s.delay = 2 * time.Hour }, lose(func(p *party) string { return p.log.Public }, at(60), newLog), "no quorum saw the leaf before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "alpha", "bravo", "charlie")
			s := w.usual()
			c.tell(&s)
			parts := w.tell(s)
			c.after(w)
			parts.History = w.h
			raw, v, err := parts.Build(now.AddDate(0, 1, 0))
			if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
				t.Fatalf("want %q: %v", c.why, err)
			}
			if err == nil && (!v.Valid || raw == nil) {
				t.Error(v.Why)
			}
		})
	}
}

func newLog(p *party) {
	p.log, p.logPQ = key(p.tb, "alpha/log/2", "alpha/log/2"), pqKey(p.tb, "alpha/log/2", "alpha/log/2")
}

// A party cannot make a leaf older than a quorum of others says, also where one witness is enough.
func TestPartyDatesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	parts := w.tell(w.usual())
	early, late := at(-60), at(3)
	parts.Leaves[0] = w.prove("alpha", 1, word{"bravo", early}, word{"charlie", late})
	_, v, err := parts.Build(now)
	must(t, err)
	if l := v.Claims[0].Leaves[0]; l.Kind != string(statement.EventReleased) || !l.Since.Equal(late) || l.OnlyParties || len(l.By) != 2 {
		t.Errorf("bravo said %s and charlie %s: %+v", early, late, l)
	}
	parts.Leaves[0] = w.prove("alpha", 1, word{"bravo", early})
	_, v, err = parts.Build(now)
	must(t, err)
	if l := v.Claims[0].Leaves[0]; !l.Since.Equal(early) || !l.OnlyParties {
		t.Errorf("only bravo said %s: %+v", early, l)
	}
}

// A co-signature by a key that was stolen counts for nothing, since a thief could have dated it back.
func TestStolenWitness(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	parts := w.tell(w.usual())
	w.renew("charlie", at(24*60), func(p *party) {
		p.card.Compromised = []statement.CompromisedKey{{Key: p.witness.Public, Since: at(60)}}
		p.witness, p.witnessPQ = key(t, "charlie/witness", "second"), pqKey(t, "charlie/witness", "second")
	})
	parts.History = w.h
	_, v, err := parts.Build(now)
	must(t, err)
	for _, c := range v.Claims {
		if !c.Since.IsZero() {
			t.Errorf("%s counts as witnessed: %+v", c.Claim, c)
		}
	}
}

// A witness whose keys were replaced is still one, also beside its old keys.
func TestRenewedWitness(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	first := w.tell(w.usual())
	w.renew("charlie", at(30), func(p *party) {
		p.witness, p.witnessPQ = key(t, "charlie/witness", "second"), pqKey(t, "charlie/witness", "second")
	})
	s := w.usual()
	s.id, s.created = "01K7XQ3W0V6N2T9R4M5B8C1D2F", at(120)
	second := w.tell(s)
	for i, parts := range []Parts{first, second} {
		parts.History = w.h
		_, v, err := parts.Build(now)
		must(t, err)
		if v.Claims[0].Since.IsZero() || v.Claims[0].Leaves[0].OnlyParties {
			t.Errorf("not witnessed: %+v", v.Claims[0])
		}
		if anchored := slices.Contains(v.Anchored, "manifest"); anchored != (i == 0) {
			t.Errorf("exchange %d: anchored is %v, and only the keys on the first card are pinned by the charter", i, anchored)
		}
	}
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		members int
		witness []string
		since   int // minutes after the leaf; -1: no quorum
	}{
		{2, []string{"bravo"}, 2},
		{3, []string{"bravo"}, 2},
		{4, []string{"bravo"}, -1},
		{4, []string{"bravo", "charlie"}, 3},
		{5, []string{"bravo", "charlie"}, -1},
		{5, []string{"bravo", "charlie", "delta"}, 4},
		{5, []string{"bravo", "charlie", "delta", "echo"}, 4},
	} {
		t.Run(fmt.Sprintf("%d of %d", len(c.witness), c.members), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, []string{"alpha", "bravo", "charlie", "delta", "echo"}[:c.members]...)
			s := w.usual()
			s.outcome, s.witness = nil, nil
			parts := w.tell(s)
			var words []word
			for i, by := range c.witness {
				words = append(words, word{by, at(len(c.witness) + 1 - i)}) // the later the name, the earlier
			}
			parts.Leaves[0] = w.prove("alpha", parts.Leaves[0].Index, words...)
			_, v, err := parts.Build(now)
			must(t, err)
			want := time.Time{}
			if c.since >= 0 {
				want = at(c.since)
			}
			if !v.Claims[0].Since.Equal(want) {
				t.Errorf("witnessed since %v, want %v", v.Claims[0].Since, want)
			}
		})
	}
}

func TestFromTheFuture(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	raw := w.build(w.tell(w.usual()))
	o := w.options()
	last := at(2).Add(3 * time.Second) // the co-signature of alpha's leaf `confirmed`
	for _, c := range []struct {
		now   time.Time
		valid bool
	}{{last, true}, {last.Add(-5 * time.Minute), true}, {last.Add(-5*time.Minute - time.Second), false}, {at(-1000), false}} {
		o.Now = c.now
		if v := Verify(raw, o); v.Valid != c.valid || !c.valid && !strings.Contains(v.Why, "from the future") {
			t.Errorf("at %s: %v %s", c.now, v.Valid, v.Why)
		}
	}
}
