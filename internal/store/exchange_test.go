package store

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// TestPutTwice puts everything twice, and then something else under the same name.
func TestPutTwice(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	a := author{t}
	m, other := a.manifest("alpha", id(1), someday, "bravo"), a.manifest("alpha", id(1), someday.Add(time.Second), "bravo")
	r, otherR := a.receipt(statement.Stored, m, 1), a.receipt(statement.Stored, m, 2)
	agreed := func(prose string) *statement.Signed[statement.Agreement] {
		s, err := statement.Sign(statement.Agreement{Name: "watch", Version: 1, Alliance: m.Hash, Parties: []string{"alpha", "bravo"}, Purposes: []string{"incident"},
			Ceiling: "TLP:AMBER", RetainDays: 90, NotBefore: someday, NotAfter: someday.AddDate(1, 0, 0), Prose: prose}, a.key("alpha/statement"), a.key("bravo/statement"))
		check(t, err)
		return s
	}
	g, otherG := agreed("one\n"), agreed("two\n")
	c := a.card("alpha", "alpha.example:7443")
	amendment, err := statement.Sign(statement.Amendment{Alliance: m.Hash, Version: 2, Previous: m.Hash, Created: someday, AdoptBy: someday.Add(time.Hour),
		Change: statement.Suspend, Member: "bravo", SignedBy: []string{"alpha"}}, a.key("alpha/statement"))
	check(t, err)
	for _, test := range []struct {
		name       string
		put, again func(tx *Tx) error
	}{
		{"manifest", func(tx *Tx) error { return tx.PutManifest(m, []byte("h"), nil, nil) }, func(tx *Tx) error { return tx.PutManifest(other, nil, nil, nil) }},
		{"receipt", func(tx *Tx) error { return tx.PutReceipt(r) }, func(tx *Tx) error { return tx.PutReceipt(otherR) }},
		{"agreement", func(tx *Tx) error { return tx.PutAgreement(g, someday) }, func(tx *Tx) error { return tx.PutAgreement(otherG, someday) }},
		{"card", func(tx *Tx) error { return tx.PutCard(c) }, nil}, // package member judges others of the same name
		{"amendment", func(tx *Tx) error { return tx.PutAmendment(amendment) }, nil},
	} {
		generation := func() (n int64) {
			view(t, db, func(v *View) (err error) { n, err = v.Generation(); return err })
			return n
		}
		before := generation()
		update(t, db, test.put)
		if changed := generation() != before; changed == (test.name == "manifest" || test.name == "receipt") {
			t.Errorf("%s: generation changed: %t", test.name, changed)
		}
		_, statements := counts(t, db)
		wantErr(t, test.name+" again", db.Update(t.Context(), test.put), ErrExists)
		if test.again != nil {
			wantErr(t, "another "+test.name, db.Update(t.Context(), test.again), ErrConflict)
		}
		if _, after := counts(t, db); after != statements {
			t.Errorf("%s: %d statements became %d", test.name, statements, after)
		}
	}
	view(t, db, func(v *View) error {
		raw, err := v.Statement(m.Hash)
		if err != nil || !bytes.Equal(raw, m.Raw) {
			t.Errorf("statement: %q, %v", raw, err)
		}
		_, err = v.Statement(other.Hash)
		wantErr(t, "the other manifest", err, ErrNotFound)
		raw, err = v.Receipt(m.Hash, "bravo", statement.Stored)
		if err != nil || !bytes.Equal(raw, r.Raw) {
			t.Errorf("receipt: %q, %v", raw, err)
		}
		_, err = v.Receipt(m.Hash, "bravo", statement.Opened)
		wantErr(t, "no receipt", err, ErrNotFound)
		if list, err := v.Receipts(m.Hash, "bravo"); err != nil || len(list) != 1 {
			t.Errorf("receipts: %q, %v", list, err)
		}
		byName, err := v.AgreementByName("watch")
		byHash, err2 := v.AgreementByHash(g.Hash)
		if err != nil || err2 != nil || byName.Hash != g.Hash || byHash.Version != 1 || !bytes.Equal(byHash.Raw, g.Raw) {
			t.Errorf("agreement: %v, %v, %v", byName, err, err2)
		}
		_, err = v.AgreementByName("else")
		wantErr(t, "no agreement", err, ErrNotFound)
		if cards, err := v.Cards(); err != nil || len(cards) != 1 || !bytes.Equal(cards[0], c.Raw) {
			t.Errorf("cards: %q, %v", cards, err)
		}
		if charters, err := v.Charters(); err != nil || len(charters) != 1 || !bytes.Equal(charters[0], amendment.Raw) {
			t.Errorf("charters: %q, %v", charters, err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { return tx.KeepManifest(other) })
	view(t, db, func(v *View) error { _, err := v.Statement(other.Hash); return err })
}

func (a author) card(member, address string) *statement.Signed[statement.Card] {
	keys := []*statement.Key{a.key(member + "/statement"), a.key(member + "/recovery"), a.key(member + "/log/1"), a.key(member + "/witness")}
	s, err := statement.Sign(statement.Card{Member: member, Version: 1, Created: someday, Address: address, Statement: keys[0].Public, Recovery: keys[1].Public,
		Log: keys[2].Public, LogMLDSA: mldsaKey(a.t, member+"/log/1"), Witness: keys[3].Public, WitnessMLDSA: mldsaKey(a.t, member+"/witness"), CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("authority")})),
		Sealing: []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1x"}}}, keys...)
	check(a.t, err)
	return s
}

func TestManifest(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	a := author{t}
	kept, refused := a.manifest("alpha", id(1), someday, "bravo"), a.manifest("alpha", id(2), someday, "bravo")
	update(t, db, func(tx *Tx) error {
		check(t, tx.PutManifest(kept, []byte("header"), []byte("salt"), nil))
		return tx.PutManifest(refused, nil, nil, nil)
	})
	view(t, db, func(v *View) error {
		m, err := v.Manifest(kept.Hash)
		if err != nil || m.Hash != kept.Hash || m.From != "alpha" || m.ID != id(1) || !m.Created.Equal(someday) || m.Size != 1000 || !bytes.Equal(m.Raw, kept.Raw) {
			t.Errorf("manifest %+v, %v", m, err)
		}
		if again, err := v.ManifestByID("alpha", id(1)); err != nil || again.Hash != kept.Hash {
			t.Errorf("by id: %+v, %v", again, err)
		}
		_, err = v.ManifestByID("bravo", id(1))
		wantErr(t, "another sender", err, ErrNotFound)
		_, err = v.Manifest(statement.Hash{})
		wantErr(t, "no manifest", err, ErrNotFound)
		header, err := v.Header(kept.Hash)
		salt, err2 := v.Salt(kept.Hash)
		if string(header) != "header" || string(salt) != "salt" || err != nil || err2 != nil {
			t.Errorf("header %q, salt %q, %v, %v", header, salt, err, err2)
		}
		_, err = v.Header(refused.Hash)
		wantErr(t, "header of a refused one", err, ErrNotFound)
		_, err = v.Header(statement.Hash{})
		wantErr(t, "header of none", err, ErrNotFound)
		if held, err := v.Held("alpha"); err != nil || held != 1000+6+limit.DocumentOverhead {
			t.Errorf("held: %d, %v", held, err)
		}
		if held, err := v.Held("bravo"); err != nil || held != 0 {
			t.Errorf("held of another: %d, %v", held, err)
		}
		return nil
	})
}

// exchanges fills a database with exchanges, among them several with the same time.
func exchanges(t *testing.T, db *DB, n int) (refs []string) {
	a := author{t}
	update(t, db, func(tx *Tx) error {
		for i := range n {
			m := a.manifest("alpha", id(i), someday.Add(time.Duration(i/3)*time.Second), "bravo", "charlie")
			check(t, tx.PutManifest(m, nil, nil, nil))
			for _, to := range m.Terms.To {
				check(t, tx.PutExchange(m.Hash, to, Queued, someday))
				refs = append(refs, "alpha/"+m.Terms.ID+"/"+to)
			}
		}
		return nil
	})
	return refs
}

func TestExchangesPages(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	want := exchanges(t, db, 10)
	for _, most := range []int{0, 1, 3, 7, 100} {
		var got []string
		var last Exchange
		filter := Filter{Limit: most}
		for {
			var page []Exchange
			view(t, db, func(v *View) (err error) { page, err = v.Exchanges(filter); return err })
			if most > 0 && len(page) > most {
				t.Errorf("a page of %d has %d", most, len(page))
			}
			for i, e := range page {
				got = append(got, e.Ref())
				if e.Created.After(last.Created) && (i > 0 || filter.After != "") {
					t.Errorf("%s is newer than the one before it", e.Ref())
				}
				last = e
			}
			if len(page) == 0 || most == 0 {
				break
			}
			filter.After = last.Cursor()
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", most, got)
		}
	}
	for name, test := range map[string]struct {
		filter Filter
		want   int
	}{
		"all":       {Filter{}, 20},
		"from":      {Filter{From: "alpha"}, 20},
		"stranger":  {Filter{From: "bravo"}, 0},
		"to":        {Filter{To: "bravo"}, 10},
		"id":        {Filter{ID: id(3)}, 2},
		"one":       {Filter{From: "alpha", ID: id(3), To: "charlie"}, 1},
		"injection": {Filter{From: "' OR 1=1 --"}, 0},
	} {
		view(t, db, func(v *View) error {
			if list, err := v.Exchanges(test.filter); err != nil || len(list) != test.want {
				t.Errorf("%s: %d exchanges, %v", name, len(list), err)
			}
			return nil
		})
	}
	for _, cursor := range []string{"x", "1.2.3", "1..bravo", "." + statement.Hash{}.String() + ".x"} {
		view(t, db, func(v *View) error {
			if _, err := v.Exchanges(Filter{After: cursor}); err == nil {
				t.Errorf("cursor %q was accepted", cursor)
			}
			return nil
		})
	}
}

func TestFindExchange(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	a := author{t}
	update(t, db, func(tx *Tx) error {
		for _, m := range []*statement.Signed[statement.Manifest]{
			a.manifest("alpha", id(11), someday, "bravo"),
			a.manifest("alpha", id(12), someday, "bra", "bravo", "charlie"),
			a.manifest("charlie", id(12), someday, "alpha"),
			a.manifest("delta", id(13), someday, "alpha"),
		} {
			check(t, tx.PutManifest(m, nil, nil, nil))
			for _, to := range m.Terms.To {
				check(t, tx.PutExchange(m.Hash, to, Stored, someday))
			}
		}
		return nil
	})
	stem := id(0)[:24]
	for ref, want := range map[string]string{
		"alpha/" + id(11) + "/bravo":   "alpha/" + id(11) + "/bravo",
		"alpha/" + id(11) + "/b":       "alpha/" + id(11) + "/bravo",
		"alpha/" + id(11) + "/":        "alpha/" + id(11) + "/bravo",
		"alpha/" + id(11):              "alpha/" + id(11) + "/bravo",
		id(11):                         "alpha/" + id(11) + "/bravo",
		"alpha/" + id(12) + "/bra":     "alpha/" + id(12) + "/bra", // exact goes before prefix
		"alpha/" + id(12) + "/brav":    "alpha/" + id(12) + "/bravo",
		"alpha/" + id(12) + "/c":       "alpha/" + id(12) + "/charlie",
		"charlie":                      "charlie/" + id(12) + "/alpha",
		"cha":                          "charlie/" + id(12) + "/alpha",
		"delta/":                       "delta/" + id(13) + "/alpha",
		"delta/01K7":                   "delta/" + id(13) + "/alpha",
		id(13):                         "delta/" + id(13) + "/alpha",
		id(13)[:26]:                    "delta/" + id(13) + "/alpha",
		"":                             "none",
		"zulu":                         "none",
		"%":                            "none",
		"_lpha":                        "none",
		"alph/" + id(11):               "none", // only the last part may be a prefix
		"alpha/" + id(11) + "/bravo/x": "none",
		"alpha":                        "many",
		"alpha/" + id(12):              "many",
		id(12):                         "many",
		stem:                           "many",
	} {
		view(t, db, func(v *View) error {
			e, err := v.FindExchange(ref)
			switch want {
			case "none":
				wantErr(t, ref, err, ErrNotFound)
			case "many":
				wantErr(t, ref, err, ErrAmbiguous)
				if !strings.Contains(fmt.Sprint(err), "/"+id(1)[:20]) {
					t.Errorf("%s: %v does not list what fits", ref, err)
				}
			default:
				if err != nil || e.Ref() != want {
					t.Errorf("%s: %s, %v; want %s", ref, e.Ref(), err, want)
				}
			}
			return nil
		})
	}
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	a := author{t}
	m := a.manifest("alpha", id(1), someday, "bravo", "charlie")
	out := func(peer string, due time.Time) Outgoing {
		return Outgoing{Peer: peer, Kind: OutgoingDocument, Statement: m.Hash, Due: due}
	}
	next := func(after time.Time) (at time.Time) {
		view(t, db, func(v *View) (err error) { at, err = v.NextDue(after); return err })
		return at
	}
	if got := next(time.Time{}); !got.IsZero() {
		t.Errorf("empty outbox due at %v", got)
	}
	update(t, db, func(tx *Tx) error {
		check(t, tx.PutManifest(m, []byte("h"), []byte("s"), nil))
		for _, to := range m.Terms.To {
			check(t, tx.PutExchange(m.Hash, to, Queued, someday))
		}
		check(t, tx.Enqueue(out("charlie", someday.Add(time.Minute))))
		check(t, tx.Enqueue(out("bravo", someday)))
		wantErr(t, "twice", tx.Enqueue(out("bravo", someday)), ErrExists)
		wantErr(t, "done with nothing", tx.Done(out("delta", someday)), ErrNotFound)
		wantErr(t, "retry of nothing", tx.Retry(out("delta", someday)), ErrNotFound)
		return nil
	})
	for after, want := range map[time.Time]time.Time{someday.Add(-time.Second): someday, someday: someday.Add(time.Minute), someday.Add(time.Minute): {}} {
		if got := next(after); !got.Equal(want) {
			t.Errorf("next due after %v: %v", after, got)
		}
	}
	due := func(at time.Time) (peers []string) {
		view(t, db, func(v *View) error {
			list, err := v.Due(at)
			for _, o := range list {
				peers = append(peers, o.Peer)
			}
			return err
		})
		return peers
	}
	for _, test := range []struct {
		at   time.Time
		want []string
	}{
		{someday.Add(-time.Microsecond), nil}, {someday, []string{"bravo"}}, {someday.Add(time.Hour), []string{"bravo", "charlie"}},
	} {
		if got := due(test.at); !slices.Equal(got, test.want) {
			t.Errorf("due at %v: %v, want %v", test.at, got, test.want)
		}
	}
	failed := out("bravo", someday.Add(time.Hour))
	failed.Attempts, failed.LastError = 3, "connection refused"
	update(t, db, func(tx *Tx) error {
		check(t, tx.SetState(m.Hash, "bravo", Delivering, someday.Add(time.Second)))
		wantErr(t, "state of nothing", tx.SetState(m.Hash, "delta", Delivered, someday), ErrNotFound)
		wantErr(t, "exchange twice", tx.PutExchange(m.Hash, "bravo", Stored, someday), ErrExists)
		return tx.Retry(failed)
	})
	view(t, db, func(v *View) error {
		e, err := v.Exchange(m.Hash, "bravo")
		want := Exchange{Manifest: m.Hash, From: "alpha", ID: id(1), To: "bravo", State: Delivering, Updated: someday.Add(time.Second), Created: someday,
			Size: 1000, Attempts: 3, Due: someday.Add(time.Hour), LastError: "connection refused"}
		if err != nil || e != want {
			t.Errorf("exchange %+v, %v, want %+v", e, err, want)
		}
		_, err = v.Exchange(m.Hash, "delta")
		wantErr(t, "no exchange", err, ErrNotFound)
		return nil
	})
	update(t, db, func(tx *Tx) error { return tx.Done(failed) })
	view(t, db, func(v *View) error {
		if e, err := v.Exchange(m.Hash, "bravo"); err != nil || !e.Due.IsZero() || e.Attempts != 0 {
			t.Errorf("after it was done: %+v, %v", e, err)
		}
		return nil
	})
	if got := due(someday.Add(time.Hour)); !slices.Equal(got, []string{"charlie"}) {
		t.Errorf("due in the end: %v", got)
	}
}

// TestDueOfAll has a peer that is silent for long: what waits for it hides nothing of what waits for others.
func TestDueOfAll(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	a := author{t}
	update(t, db, func(tx *Tx) error {
		for i := range limit.Page + 1 {
			m := a.manifest("alpha", id(i), someday, "bravo")
			check(t, tx.PutManifest(m, nil, nil, nil))
			check(t, tx.Enqueue(Outgoing{Peer: "bravo", Kind: OutgoingDocument, Statement: m.Hash, Due: someday.Add(time.Duration(i) * time.Second)}))
			if i == 0 {
				check(t, tx.Enqueue(Outgoing{Peer: "charlie", Kind: OutgoingDocument, Statement: m.Hash, Due: someday.Add(time.Hour)}))
			}
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { // behind all that is small
		m := a.manifest("alpha", id(limit.Page+2), someday, "bravo")
		check(t, tx.PutManifest(m, nil, nil, nil))
		return tx.Enqueue(Outgoing{Peer: "bravo", Kind: OutgoingDocument, Statement: m.Hash, Large: true, Due: someday})
	})
	view(t, db, func(v *View) error {
		list, err := v.Due(someday.Add(24 * time.Hour))
		if len(list) > limit.DueEach && list[limit.DueEach].Large {
			list = slices.Delete(list, limit.DueEach, limit.DueEach+1)
		} else {
			t.Errorf("a large document is not where it should be: %v", list)
		}
		peers := map[string]int{}
		for i, o := range list {
			peers[o.Peer]++
			if want := someday.Add(time.Duration(i) * time.Second); o.Peer == "bravo" && !o.Due.Equal(want) {
				t.Errorf("number %d is due at %v, want %v", i, o.Due, want)
			}
		}
		if err != nil || peers["bravo"] != limit.DueEach || peers["charlie"] != 1 {
			t.Errorf("due: %v, %v", peers, err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error {
		n, err := tx.Hasten("bravo", someday)
		if n != limit.Page { // all but those that are due then
			t.Errorf("hastened %d", n)
		}
		return err
	})
	view(t, db, func(v *View) error {
		if list, err := v.Due(someday); err != nil || len(list) != limit.DueEach+1 {
			t.Errorf("due after hastening: %v, %v", list, err)
		}
		return nil
	})
}

// TestIndexes asks SQLite how it reads what is asked for often, or by a peer: no such query may go through a whole table.
func TestIndexes(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	queries, err := filepath.Glob("queries/*.sql")
	check(t, err)
	text := map[string]string{}
	for _, file := range queries {
		b, err := os.ReadFile(file)
		check(t, err)
		for _, q := range strings.Split(string(b), "-- name: ")[1:] {
			name, rest, _ := strings.Cut(q, " ")
			_, body, _ := strings.Cut(rest, "\n")
			text[name], _, _ = strings.Cut(body, ";")
		}
	}
	arg := regexp.MustCompile(`sqlc\.arg\((\w+)\)|\$\d`)
	for name, want := range map[string]string{
		"Held":              "COVERING INDEX manifest_by_sender (sender=?)",
		"ExchangesByName":   "(id=? AND sender=?)",
		"ExchangesByID":     "(id=?)",
		"ExchangesBySender": "manifest_by_sender (sender=?)",
		"NextPeer":          "(peer>?)",
		"DueOf":             "outbox_by_peer (peer=? AND large=? AND due<?)",
		"Hasten":            "outbox_by_peer",
	} {
		plan := planOf(t, db, arg.ReplaceAllString(text[name], "?1"))
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "USING INDEX") && step != "SCAN d" && !strings.HasPrefix(step, "SCAN (subquery") {
				t.Errorf("%s: %s", name, step)
			}
		}
		if !strings.Contains(strings.Join(plan, "; "), want) {
			t.Errorf("%s: %q has no %q", name, plan, want)
		}
	}
}

// planOf gives the steps in which SQLite would answer a query.
func planOf(t *testing.T, db *DB, query string) (plan []string) {
	t.Helper()
	rows, err := db.writes.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, "x")
	check(t, err)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		check(t, rows.Scan(&id, &parent, &unused, &step))
		plan = append(plan, step)
	}
	check(t, rows.Err())
	return plan
}

// mldsaKey is some post-quantum verifier key of that name. Nothing here signs with it.
func mldsaKey(t testing.TB, name string) string {
	t.Helper()
	public := make([]byte, 1312)
	copy(public, name)
	vkey, err := statement.MLDSAKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
