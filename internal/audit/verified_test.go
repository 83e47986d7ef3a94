package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// verifiedNow verifies everything, remembers it in a file, and reads that again.
func (h *home) verifiedNow() *Verified {
	h.t.Helper()
	path := filepath.Join(h.dir, VerifiedFile)
	check(h.t, Remember(path, h.verify(), h.now))
	v := must[*Verified](h.t)(ReadVerified(path))
	if v == nil {
		h.t.Fatal("nothing was remembered")
	}
	return v
}

func (h *home) verifySince(since *Verified) *Report {
	h.t.Helper()
	c := h.verification()
	c.Since = since
	return must[*Report](h.t)(VerifyHome(h.t.Context(), c))
}

func (h *home) exec(query string, args ...any) {
	h.t.Helper()
	r, err := h.raw().Exec(query, args...)
	check(h.t, err)
	if n := must[int64](h.t)(r.RowsAffected()); n != 1 {
		h.t.Fatalf("%d rows changed by %s", n, query)
	}
}

// TestVerifyHomeSince begins where the last verification ended, after every kind of event, and with none.
func TestVerifyHomeSince(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.sound()
	empty := h.verifiedNow()
	h.populate()
	if r := h.verifySince(empty); !r.OK() || r.From != 0 || r.Earlier == nil {
		t.Errorf("since it was empty: %+v", r)
	}
	since := h.verifiedNow()
	if r := h.verifySince(since); !r.OK() || r.From != since.Tree.N || r.Leaves != since.Tree.N || r.Root != since.Tree.Hash || r.Decisions != 0 || r.Documents != 0 {
		t.Errorf("with nothing new: %+v", r)
	}
	d := h.release("bravo")
	h.publish()
	h.settle(d, "bravo", store.Delivered, statement.EventDelivered, h.receipt(statement.Stored, "bravo", d, 4))
	half := h.verifiedNow()
	h.settle(d, "bravo", store.Delivered, statement.EventConfirmed, h.receipt(statement.Opened, "bravo", d, 5))
	taken := h.receive("bravo", "alpha")
	h.open(taken, statement.Opened, statement.EventOpened, store.Opened)
	h.refuse(h.document("charlie", "", "alpha"), false)
	h.refuse(h.document("bravo", taken.Terms.ID, "alpha"), true)
	h.release("bravo", "charlie")
	for name, s := range map[string]*Verified{"before all": since, "in the middle of an exchange": half} {
		if r := h.verifySince(s); !r.OK() || r.From != s.Tree.N || r.Earlier == nil || r.Decisions == 0 || r.Documents < 2 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	h.publish()
	if r := h.verifySince(half); !r.OK() {
		t.Errorf("after a checkpoint: %v", r.Problems)
	}
}

// TestVerifyHomeSinceFinds damages a home that was sound, and says whether a verification of what is new finds it. All of it is found
// when everything is read.
func TestVerifyHomeSinceFinds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		damage func(h *home, since *Verified)
		found  bool
		want   string // part of a problem
	}{
		"old leaf":                      {func(h *home, _ *Verified) { h.exec("UPDATE leaf SET body = x'00' WHERE idx = 6") }, false, ""},
		"new leaf":                      {func(h *home, s *Verified) { h.exec("UPDATE leaf SET body = x'00' WHERE idx = ?", s.Tree.N+1) }, true, "parse leaf"},
		"new leaf about something else": {func(h *home, s *Verified) { h.exec("UPDATE leaf SET about = x'00' WHERE idx = ?", s.Tree.N+1) }, true, "the column about"},
		"private value of a new leaf": {func(h *home, s *Verified) {
			h.exec("UPDATE private SET value = x'00' WHERE field = 'person' AND leaf = ?", s.Tree.N)
		}, true, "it is not what the leaf is committed to"},
		"old leaf of an exchange that goes on": {func(h *home, s *Verified) {
			h.exec("UPDATE leaf SET body = replace(body, '\"v\":1', '\"v\":2') WHERE idx = ?", s.Tree.N-1)
		}, true, "it was changed: it is no leaf about manifest"},
		"old receipt removed": {func(h *home, _ *Verified) { h.exec("DELETE FROM receipt WHERE kind = 'undecryptable'") }, true, "and the log speaks of"},
		"old exchange added": {func(h *home, _ *Verified) {
			h.exec("INSERT INTO exchange SELECT manifest, 'delta', state, updated FROM exchange WHERE state = 'stored'")
		}, true, "and the log speaks of"},
		"new receipt removed": {func(h *home, _ *Verified) {
			h.exec("DELETE FROM receipt WHERE rowid = (SELECT max(rowid) FROM receipt)")
		}, true, "the row about that is missing"},
		"new state": {func(h *home, _ *Verified) {
			h.exec("UPDATE exchange SET state = 'stored' WHERE rowid = (SELECT max(rowid) FROM exchange)")
		}, true, "its state is"},
		"right edge of the tree": {func(h *home, s *Verified) {
			h.exec("UPDATE tree SET hash = zeroblob(32) WHERE idx = (SELECT max(idx) FROM tree WHERE idx < ?)", 2*s.Tree.N-2)
		}, true, ""},
		"the log begins with other leaves": {func(_ *home, s *Verified) { s.Tree.Hash[0] ^= 1 }, true, "are not those that were verified on"},
		"more was verified":                {func(_ *home, s *Verified) { s.Tree.N = 1000 }, true, "1000 leaves were verified on"},
		"another log was verified":         {func(_ *home, s *Verified) { s.Log = "bravo/log/1" }, true, "it is about the log"},
		"card": {func(h *home, _ *Verified) {
			h.exec("UPDATE statement SET raw = x'00' WHERE kind = 'card' AND rowid = (SELECT min(rowid) FROM statement WHERE kind = 'card')")
		}, true, "card"},
		"head": {func(h *home, _ *Verified) { check(h.t, os.Remove(filepath.Join(h.head(), "log-0"))) }, true, "no such file"},
		"new document": {func(h *home, _ *Verified) {
			for _, path := range must[[]string](h.t)(filepath.Glob(filepath.Join(h.dir, "blobs", "*", "*"))) {
				if b := must[[]byte](h.t)(os.ReadFile(path)); b[0] == byte(h.ids) {
					b[0] ^= 1
					check(h.t, os.WriteFile(path, b, 0o600))
				}
			}
		}, true, "its bytes were changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.populate()
			goes := h.receive("bravo", "alpha")
			since := h.verifiedNow()
			h.release("bravo")
			h.open(goes, statement.Opened, statement.EventOpened, store.Opened)
			h.release("charlie")
			h.publish()
			if r := h.verifySince(since); !r.OK() || r.From != since.Tree.N {
				t.Fatalf("%+v", r)
			}
			test.damage(h, since)
			r := h.verifySince(since)
			if r.OK() == test.found {
				t.Errorf("found: %v, expected %t", r.Problems, test.found)
			}
			if test.want != "" && !strings.Contains(problems(r), test.want) {
				t.Errorf("%q is not among %v", test.want, r.Problems)
			}
			if strings.HasPrefix(test.want, "are not those") && r.From != 0 {
				t.Error("not everything was read")
			}
			if !test.found && h.verify().OK() {
				t.Error("nor is it found when everything is read")
			}
		})
	}
}

func problems(r *Report) string {
	var list []string
	for _, p := range r.Problems {
		list = append(list, p.String())
	}
	return strings.Join(list, "\n")
}

// TestVerifyHomeSkipsDocuments reads no bytes of documents, and must not be remembered.
func TestVerifyHomeSkipsDocuments(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	files := must[[]string](t)(filepath.Glob(filepath.Join(h.dir, "blobs", "*", "*")))
	b := must[[]byte](t)(os.ReadFile(files[0]))
	b[0] ^= 1
	check(t, os.WriteFile(files[0], b, 0o600))
	c := h.verification()
	c.SkipDocuments = true
	r := must[*Report](t)(VerifyHome(t.Context(), c))
	if !r.OK() || r.Documents != 0 || h.verify().OK() {
		t.Errorf("skipped: %+v; whole: %v", r, h.verify().Problems)
	}
	path := filepath.Join(h.dir, VerifiedFile)
	if Remember(path, r, h.now) == nil || Remember(path, h.verify(), h.now) == nil {
		t.Error("it was remembered although not all was sound")
	}
	check(t, os.Truncate(files[0], 3))
	if r := must[*Report](t)(VerifyHome(t.Context(), c)); r.OK() {
		t.Error("a document of another size was not found")
	}
}

// TestVerifiedFile changes every byte of the file.
func TestVerifiedFile(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	path := filepath.Join(h.dir, VerifiedFile)
	if v, err := ReadVerified(path); v != nil || err != nil {
		t.Errorf("without a file: %v, %v", v, err)
	}
	h.populate()
	v := h.verifiedNow()
	b := must[[]byte](t)(os.ReadFile(path))
	if again := must[*Verified](t)(parseVerified(b)); *again != *v || v.Rows.Receipts == 0 {
		t.Errorf("%+v, and again %+v", v, again)
	}
	for at := range b {
		for _, bit := range []byte{1, 0x20, 0x80} {
			changed := append([]byte{}, b...)
			changed[at] ^= bit
			if _, err := parseVerified(changed); err == nil {
				t.Errorf("byte %d: a change of %#x was not found", at, bit)
			}
		}
		if _, err := parseVerified(b[:at]); err == nil {
			t.Errorf("cut off after %d bytes, it was read", at)
		}
	}
	other := strings.Replace(string(b), "checks 1\n", "checks 0\n", 1)
	if _, err := parseVerified([]byte(other)); !errors.Is(err, ErrOtherChecks) {
		t.Errorf("of another version: %v", err)
	}
	check(t, Forget(path))
	check(t, Forget(path))
	if v, err := ReadVerified(path); v != nil || err != nil {
		t.Errorf("after Forget: %v, %v", v, err)
	}
}

func FuzzVerified(f *testing.F) {
	f.Add([]byte(Verified{Log: "alpha/log/1"}.String()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parseVerified(b); err == nil && v.String() != string(b) {
			t.Errorf("%q was read as %+v", b, v)
		}
	})
}
