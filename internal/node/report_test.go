package node_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/report"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// reportOn makes the report of a member about an agreement and the last month, as at a time.
func (w *world) reportOn(m, agreement string, now time.Time, persons bool) (*report.Report, error) {
	w.t.Helper()
	return w.reader(m).Report(w.t.Context(), node.ReportOptions{Agreement: agreement, From: time.Now().AddDate(0, 0, -30), To: now.Add(time.Minute), Now: now, Persons: persons})
}

func (w *world) mustReport(m string, now time.Time, persons bool) *report.Report {
	w.t.Helper()
	r, err := w.reportOn(m, "harbour-watch", now, persons)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// classesOf lists what was found, as CLASS:COUNT.
func classesOf(r *report.Report) string {
	var list []string
	for _, c := range r.Classes {
		list = append(list, fmt.Sprintf("%s:%d", c.Class, c.Count))
	}
	return strings.Join(list, " ")
}

func kindsOf(r *report.Report) string {
	var list []string
	for _, k := range r.Kinds {
		list = append(list, fmt.Sprintf("%s:%d", k.Kind, k.Count))
	}
	return strings.Join(list, " ")
}

// Everything that can happen under an agreement happens, and both sides' reports say so.
func TestReport(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.agree(statement.Agreement{Name: "elsewhere", Parties: []string{"alpha", "bravo"}})
	w.start("alpha", "bravo")
	alice := w.person("alpha")

	opened := w.send("alpha", submission("bravo"), []byte("to be opened"))[0]
	w.await("alpha", opened, "delivered")
	for range 2 {
		if _, err := open(t.Context(), w.person("bravo"), opened); err != nil {
			t.Fatal(err)
		}
	}
	w.await("alpha", opened, "opened")
	delivered := w.send("alpha", submission("bravo"), []byte("to be left"))[0]
	w.await("alpha", delivered, "delivered")
	other := submission("bravo")
	other.Agreement = "elsewhere"
	w.await("alpha", w.send("alpha", other, []byte("under another agreement"))[0], "delivered")

	for _, change := range []func(*ententev1.Submission){func(s *ententev1.Submission) { s.Label = "TLP:RED" }, func(s *ententev1.Submission) { s.Purpose = "training" }} {
		denied := submission("bravo")
		change(denied)
		_, err := alice.Send(t.Context(), denied, strings.NewReader("no"))
		wantFault(t, err, fault.Refused, "release")
	}
	w.setPeople("alpha", entry("alice", `"reader"`))
	_, err := alice.Send(t.Context(), submission("bravo"), strings.NewReader("no"))
	wantFault(t, err, fault.Refused, "release")
	w.setPeople("alpha", entry("alice", `"releaser", "reader"`))

	// alpha as its node would never be: a label that is no label, a commitment to something else, a text that is no manifest.
	peer := w.peer("alpha", "bravo")
	hostile := w.document("alpha", []string{"bravo"}, "hostile", func(m *statement.Manifest) { m.Label = "<script>alert(1)</script>" })
	formula := w.document("alpha", []string{"bravo"}, "formula", func(m *statement.Manifest) { m.Label = "=cmd|'/c'!A0" })
	for _, d := range []*document{hostile, formula} {
		raw, err := peer.deliver(t.Context(), d)
		if err != nil || peer.receipt(raw, d).Kind != statement.Refused {
			t.Fatalf("%v %s", err, raw)
		}
	}
	broken := w.document("alpha", []string{"bravo"}, "broken")
	broken.m.Content.Commitment = statement.CommitmentPrefix + strings.Repeat("0", 64)
	w.sign(broken)
	if _, err := peer.deliver(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t.Context(), w.person("bravo"), broken.m.ID); err == nil {
		t.Fatal("opened what is broken")
	}
	if _, err := peer.deliver(t.Context(), &document{raw: []byte("no manifest"), header: broken.header, m: broken.m}); err == nil {
		t.Fatal("delivered no manifest")
	}

	w.stop("bravo")
	soon := submission("bravo")
	soon.DeliverSeconds = 1
	expired := w.send("alpha", soon, []byte("too late"))[0]
	w.await("alpha", expired, "expired")
	waiting := w.send("alpha", submission("bravo"), []byte("waits"))[0]
	w.stop("alpha")

	t.Run("sender", func(t *testing.T) {
		r := w.mustReport("alpha", time.Now(), false)
		if got := classesOf(r); got != "expired:1 denied:3 rejected:1" && got != "expired:1 denied:3" {
			t.Errorf("classes %s", got)
		}
		if r.Totals.Released != 4 || r.Totals.Delivered != 2 || r.Totals.Opened != 1 || r.ExchangesTotal != 4 {
			t.Errorf("totals %+v, %d exchanges", r.Totals, r.ExchangesTotal)
		}
		states := map[string]string{}
		for _, e := range r.Listed {
			states[e.Exchange] = e.State
		}
		if states[opened] != "opened" || states[delivered] != "delivered" || states[expired] != "expired" || states[waiting] == "" {
			t.Errorf("states %v", states)
		}
		if strings.Contains(render(t, r), "alice") {
			t.Error("a person is named")
		}
		if named := render(t, w.mustReport("alpha", time.Now(), true)); !strings.Contains(named, "by alice") || !strings.Contains(named, "alice does not have the role") {
			t.Error("with persons, nobody is named")
		}
		// In two weeks the deadline of what still waits has passed, and nobody has noticed.
		if got := classesOf(w.mustReport("alpha", time.Now().AddDate(0, 0, 14), false)); !strings.Contains(got, "unconfirmed:1") {
			t.Errorf("in two weeks %s", got)
		}
	})
	t.Run("recipient", func(t *testing.T) {
		r := w.mustReport("bravo", time.Now(), false)
		if got := classesOf(r); got != "undecryptable:1 refused:2 rejected:1" {
			t.Errorf("classes %s", got)
		}
		if got := kindsOf(r); got != "agreement:1 opened:1 received:3 refused:2 rejected:1 reopened:1 undecryptable:1" {
			t.Errorf("kinds %s", got)
		}
		at := slices.IndexFunc(r.Listed, func(e report.Entry) bool { return e.Exchange == opened })
		if at < 0 || r.Listed[at].State != "opened" || len(r.Listed[at].Leaves) != 3 || r.Listed[at].Direction != "received" {
			t.Errorf("entries %+v", r.Listed)
		}
		page := render(t, r)
		if strings.Contains(page, "<script") || !strings.Contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;") {
			t.Error("a label is not escaped")
		}
		var table bytes.Buffer
		if err := r.CSV(&table); err != nil || !strings.Contains(table.String(), ",'=cmd|'/c'!A0,") {
			t.Errorf("a label is a formula: %v\n%s", err, &table)
		}
		// In a year everything that was stored is still here, though none of it may be.
		if got := classesOf(w.mustReport("bravo", time.Now().AddDate(1, 0, 0), false)); !strings.Contains(got, "overdue-retention:3 ") {
			t.Errorf("in a year %s", got)
		}
	})
	t.Run("choice", func(t *testing.T) {
		hash := w.agreement.Hash.String()
		for _, ref := range []string{"harbour-watch@1", hash, hash[:8]} {
			if r, err := w.reportOn("alpha", ref, time.Now(), false); err != nil || r.ExchangesTotal != 4 || len(r.Agreements) != 1 {
				t.Errorf("%s: %+v, %v", ref, r, err)
			}
		}
		for ref, kind := range map[string]fault.Kind{"harbour-watch@2": fault.NotFound, "harbour": fault.NotFound, "harbour-watch@x": fault.Misused, hash[:7]: fault.NotFound, "": fault.NotFound} {
			if _, err := w.reportOn("alpha", ref, time.Now(), false); fault.KindOf(err) != kind {
				t.Errorf("%q: %v", ref, err)
			}
		}
		if r, err := w.reportOn("charlie", "harbour-watch", time.Now(), false); err != nil || r.ExchangesTotal != 0 || r.Totals.Exceptions != 0 {
			t.Errorf("charlie: %+v, %v", r, err)
		}
	})
}

func render(t *testing.T, r *report.Report) string {
	t.Helper()
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return page.String() + string(b)
}

// What two members agree upon again in another version is in one report under the name, and apart under the versions.
func TestReportVersions(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	w.await("alpha", w.send("alpha", submission("bravo"), []byte("first"))[0], "delivered")
	w.stop("alpha")
	w.stop("bravo")
	// Only bravo knows the second version, so it refuses what alpha sends under the first.
	second, err := w.Agree(t.Context(), statement.Agreement{Name: "harbour-watch", Version: 2, Parties: []string{"alpha", "bravo"}, Purposes: []string{"training"}, Ceiling: "TLP:GREEN", RetainDays: 3})
	if err != nil {
		t.Fatal(err)
	}
	w.start("alpha", "bravo")
	sub := submission("bravo")
	sub.Purpose, sub.Label = "training", "TLP:GREEN"
	w.await("alpha", w.send("alpha", sub, []byte("second"))[0], "delivered")
	old := w.document("alpha", []string{"bravo"}, "under the first")
	peer := w.peer("alpha", "bravo")
	raw, err := peer.deliver(t.Context(), old)
	if err != nil || peer.receipt(raw, old).Kind != statement.Refused {
		t.Fatalf("%v %s", err, raw)
	}
	w.cosigned("bravo") // what no checkpoint covers is not in a report
	for ref, want := range map[string]int64{"harbour-watch": 3, "harbour-watch@1": 2, "harbour-watch@2": 1, second.Hash.String()[:10]: 1} {
		r, err := w.reportOn("bravo", ref, time.Now(), false)
		if err != nil || r.ExchangesTotal != want {
			t.Errorf("%s: %+v, %v", ref, r, err)
		}
	}
}

// A log that does not fit its checkpoint gives no report, and a period that is none gives a fault.
func TestReportRefused(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	now := time.Now()
	h := w.reader("alpha")
	for _, days := range []int{0, -1, limit.ReportDays + 1} {
		_, err := h.Report(t.Context(), node.ReportOptions{Agreement: "harbour-watch", From: now, To: now.AddDate(0, 0, days), Now: now})
		if fault.KindOf(err) != fault.Misused {
			t.Errorf("%d days: %v", days, err)
		}
	}
	w.start("alpha")
	denied := submission("bravo")
	denied.Label = "TLP:RED"
	_, err := w.person("alpha").Send(t.Context(), denied, strings.NewReader("no"))
	wantFault(t, err, fault.Refused, "release")
	w.stop("alpha")
	w.damaged = true
	for _, c := range []struct{ edit, undo, text string }{
		{`UPDATE private SET value = replace(CAST(value AS TEXT), 'TLP:RED', 'TLP:BLUE') WHERE field = 'decision'`,
			`UPDATE private SET value = replace(CAST(value AS TEXT), 'TLP:BLUE', 'TLP:RED') WHERE field = 'decision'`, "private field decision is not the one"},
		{`UPDATE private SET field = 'other' WHERE field = 'person'`, `UPDATE private SET field = 'person' WHERE field = 'other'`, "private field other is not the one"},
		{`UPDATE checkpoint SET note = CAST(replace(CAST(note AS TEXT), char(10) || size || char(10), char(10) || (size - 1) || char(10)) AS BLOB)`,
			`UPDATE checkpoint SET note = CAST(replace(CAST(note AS TEXT), char(10) || (size - 1) || char(10), char(10) || size || char(10)) AS BLOB)`, "open checkpoint"},
		{`UPDATE leaf SET body = CAST(replace(CAST(body AS TEXT), '"bravo"', '"hravo"') AS BLOB) WHERE CAST(body AS TEXT) LIKE '%"agreement"%'`,
			`UPDATE leaf SET body = CAST(replace(CAST(body AS TEXT), '"hravo"', '"bravo"') AS BLOB)`, "hash to"},
		{`DELETE FROM private WHERE field = 'person'`, ``, "private field person is missing"},
		{`DELETE FROM leaf WHERE idx = (SELECT max(idx) FROM leaf)`, ``, "the log ends after"},
		{`UPDATE leaf SET body = 'x'`, ``, "leaf"},
	} {
		w.edit("alpha", c.edit)
		_, err := w.reportOn("alpha", "harbour-watch", now, false)
		wantFault(t, err, fault.Invalid, c.text)
		if c.undo != "" {
			w.edit("alpha", c.undo)
			w.mustReport("alpha", now, false)
		}
	}
}

// Ten thousand exchanges: the report counts all of them, lists what it may, and stays small.
func TestReportOfMany(t *testing.T) {
	t.Parallel()
	const many = 10_000
	w := found(t, "alpha", "bravo")
	w.damaged = true // there are facts without blobs
	w.receiveMany("bravo", many)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := w.mustReport("bravo", time.Now(), false)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("a report holds %d bytes", grown)
	}
	if r.ExchangesTotal != many || len(r.Listed) != limit.ReportExchanges || r.Totals.Received != many {
		t.Errorf("%d exchanges, %d listed, %+v", r.ExchangesTotal, len(r.Listed), r.Totals)
	}
	// Every hundredth was accepted although it is outside the terms; of these 100 each is listed.
	if got := classesOf(r); got != "outside-terms:100" || len(r.Exceptions) != 100 {
		t.Errorf("classes %s, %d listed", got, len(r.Exceptions))
	}
	if page := render(t, r); !strings.Contains(page, "5\u202f000 more</b> exchanges") || len(page) > 16<<20 {
		t.Errorf("the page has %d bytes, or does not say that there are more", len(page))
	}
	if len(r.Labels) != limit.ReportRows+1 || r.Labels[limit.ReportRows].Name != report.Others {
		t.Errorf("%d labels", len(r.Labels))
	}
}

// receiveMany puts documents of alpha into a member's database and log as its node would, but for their content. Every
// hundredth has a label above the ceiling.
func (w *world) receiveMany(m string, many int) {
	w.t.Helper()
	h, err := w.Open(w.t.Context(), m)
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	d, key := w.document("alpha", []string{m}, "many"), w.keys("alpha").Statement
	for from := 0; from < many; from += 500 {
		err := h.DB.Update(w.t.Context(), func(tx *store.Tx) error {
			for i := from; i < from+500; i++ {
				if err := receiveOne(tx, d, key, m, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := h.Log.Publish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func receiveOne(tx *store.Tx, d *document, key *statement.Key, m string, i int) error {
	terms := d.m
	terms.ID = fmt.Sprintf("01K7XQ3W0V6N2T9R4M5B%06d", i)
	if i%100 == 99 {
		terms.Label = fmt.Sprintf("TLP:RED+%d", i) // as many labels as such documents
	}
	s, err := statement.Sign(terms, key)
	if err != nil {
		return err
	}
	if err := tx.PutManifest(s, d.header, nil, nil); err != nil {
		return err
	}
	if err := tx.PutExchange(s.Hash, m, store.Stored, time.Now()); err != nil {
		return err
	}
	_, err = tx.Record(statement.Event{Kind: statement.EventReceived, Time: time.Now(), ID: terms.ID, Manifest: s.Hash, Peers: []string{"alpha"}, Stage: "accept", Rules: []string{"base/accept"}})
	return err
}

// edit changes a member's database by hand.
func (w *world) edit(m, query string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.Home(m), store.File)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(w.t.Context(), query); err != nil {
		w.t.Fatal(err)
	}
}
