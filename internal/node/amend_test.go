package node_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (w *world) home(m string) *node.Home {
	w.t.Helper()
	h, err := node.OpenHome(w.t.Context(), w.Home(m))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.Close() })
	return h
}

func (w *world) draft(m string, d node.AmendmentDraft) []byte {
	w.t.Helper()
	file, err := w.home(m).DraftAmendment(w.t.Context(), time.Now(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	return file
}

func (w *world) signs(m string, file []byte, now time.Time) ([]byte, error) {
	w.t.Helper()
	return w.home(m).SignAmendment(w.t.Context(), now, file)
}

// TestOnePromise has a member sign two successors of one version: the second only when the first can no longer be adopted, also after the
// home was opened anew.
func TestOnePromise(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	one := w.draft("alpha", node.AmendmentDraft{Change: statement.Suspend, Member: "charlie", Wait: time.Hour})
	other := w.draft("alpha", node.AmendmentDraft{Change: statement.Suspend, Member: "bravo", Wait: 3 * time.Hour})
	signed, err := w.signs("alpha", one, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.signs("alpha", one, time.Now()); err != nil || string(again) != string(signed) {
		t.Errorf("the same again: %v", err)
	}
	_, err = w.signs("alpha", other, time.Now())
	wantFault(t, err, fault.Conflict, "has signed another successor")
	_, err = w.signs("alpha", other, time.Now().Add(time.Hour+time.Minute)) // clocks differ
	wantFault(t, err, fault.Conflict, "has signed another successor")
	if _, err := w.signs("alpha", other, time.Now().Add(2*time.Hour)); err != nil {
		t.Errorf("after adopt_by: %v", err)
	}
	_, err = w.signs("alpha", one, time.Now().Add(30*time.Minute))
	wantFault(t, err, fault.Conflict, "has signed another successor")

	_, err = w.signs("charlie", one, time.Now())
	wantFault(t, err, fault.Invalid, "is not to be signed by charlie")
	_, err = w.signs("bravo", w.draft("bravo", node.AmendmentDraft{Change: statement.Suspend, Member: "charlie", Wait: 365 * 24 * time.Hour}), time.Now())
	wantFault(t, err, fault.Invalid, "nothing else could be signed until then")
	if _, err := w.signs("bravo", w.draft("bravo", node.AmendmentDraft{Change: statement.Leave}), time.Now()); err != nil {
		t.Errorf("leave: %v", err)
	}
}

// TestAdmit admits a newcomer, which joins with the file that it signed, and exchanges documents with those who were told.
func TestAdmit(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.damaged = true // delta is no part of the world
	w.start("alpha", "bravo", "charlie")
	dir := filepath.Join(t.TempDir(), "delta")
	made, err := node.Init(t.Context(), dir, node.InitOptions{Member: "delta", Address: "127.0.0.1:1", NodeAddress: "127.0.0.1:2", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	delta, err := node.OpenHome(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer delta.Close()

	file := w.draft("alpha", node.AmendmentDraft{Change: statement.Admit, Card: made.Card.Raw, Signers: []string{"alpha", "bravo"}})
	if file, err = delta.SignAmendment(t.Context(), time.Now(), file); err != nil {
		t.Fatal(err)
	}
	_, err = w.home("alpha").AdoptAmendment(t.Context(), time.Now(), file)
	wantFault(t, err, fault.Invalid, "lacks the signatures of alpha, bravo")
	var files [][]byte
	for _, m := range []string{"alpha", "bravo"} {
		signed, err := w.signs(m, file, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, signed)
	}
	_, err = w.home("alpha").AdoptAmendment(t.Context(), time.Now().AddDate(0, 1, 0), files...)
	wantFault(t, err, fault.Invalid, "had to be adopted by")
	if _, err := w.home("alpha").AdoptAmendment(t.Context(), time.Now(), files...); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"bravo", "charlie"} {
		w.knows(m, func(h *member.History) bool { return h.InGoodStanding("delta") })
	}
	for range 2 { // the second time changes nothing
		h, err := delta.AdoptAmendment(t.Context(), time.Now(), files...)
		if err != nil || h.Version() != 2 || len(h.Members()) != 4 {
			t.Fatalf("join: %v, %v", h, err)
		}
	}
	if r, err := delta.VerifyLog(t.Context()); err != nil || !r.OK() {
		t.Errorf("verify: %v, %v", r, err)
	}

	_, err = w.signs("charlie", files[0], time.Now())
	wantFault(t, err, fault.Invalid, "follows another version")
}

// TestAmendmentFiles changes every part of an amendment file.
func TestAmendmentFiles(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	file := w.draft("alpha", node.AmendmentDraft{Change: statement.Suspend, Member: "bravo", Signers: []string{"alpha", "bravo"}})
	for at := range file {
		changed := slices.Clone(file)
		changed[at] ^= 1
		if f, err := node.ReadAmendment(changed); err == nil && f.Amendment.Hash == mustHash(t, file) {
			t.Errorf("byte %d: a change of nothing that is signed was read", at)
		}
	}
	for name, test := range map[string][]byte{"empty": nil, "twice": append(slices.Clone(file), file...), "cut": file[:len(file)-2],
		"a card that belongs to nothing": append(slices.Clone(file), "-- card --\nx\n"...), "another file": append(slices.Clone(file), "-- else --\nx\n"...)} {
		if _, err := node.ReadAmendment(test); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func mustHash(t *testing.T, file []byte) statement.Hash {
	t.Helper()
	f, err := node.ReadAmendment(file)
	if err != nil {
		t.Fatal(err)
	}
	return f.Amendment.Hash
}

// TestRenewCard gives alpha a new statement key: refused beside a running node and without the recovery key; what was sent before is
// delivered, and so is what is sent after. A crash before or after the transaction leaves one key with its card.
func TestRenewCard(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	key := filepath.Join(filepath.Dir(w.Home("alpha")), "recovery", "alpha.key")
	_, err := w.home("alpha").RenewCard(t.Context(), time.Now(), node.RenewOptions{RecoveryFile: key})
	wantFault(t, err, fault.Conflict, "a node is using")
	before := w.send("alpha", submission("bravo"), []byte("before"))[0]
	w.stop("alpha")
	h := w.home("alpha")
	_, err = h.RenewCard(t.Context(), time.Now(), node.RenewOptions{RecoveryFile: filepath.Join(filepath.Dir(key), "bravo.key")})
	wantFault(t, err, fault.Invalid, "expected \"alpha/recovery\"")
	old := h.Keys.Statement.Public
	card, err := h.RenewCard(t.Context(), time.Now(), node.RenewOptions{RecoveryFile: key})
	if err != nil || card.Terms.Statement == old || h.Keys.Statement.Public != card.Terms.Statement {
		t.Fatalf("renewed: %v, %v", card, err)
	}

	// As a crash leaves it: after the transaction, and before it.
	next := filepath.Join(h.Dir, "card.next")
	for _, c := range []struct {
		card *statement.Signed[statement.Card]
		want string
	}{{card, card.Terms.Statement}, {func() *statement.Signed[statement.Card] { c, _ := w.renewed("alpha", time.Now(), false); return c }(), card.Terms.Statement}} {
		if err := os.WriteFile(next, c.card.Raw, 0o600); err != nil {
			t.Fatal(err)
		}
		again := w.home("alpha")
		own, err := again.Card()
		if err != nil || own.Terms.Statement != c.want || again.Keys.Statement.Public != c.want {
			t.Errorf("after a crash the home has the key %s and the card %v, %v", again.Keys.Statement.Public, own, err)
		}
		if _, err := os.Lstat(next); err == nil {
			t.Error("the next card is still there")
		}
	}
	w.start("alpha", "bravo")
	w.knows("bravo", func(h *member.History) bool { m, _ := h.Member("alpha"); return m.Card == card.Hash })
	w.await("alpha", before, "delivered")
	w.await("alpha", w.send("alpha", submission("bravo"), []byte("after"))[0], "delivered")
}

// TestRenewalUnderWay opens a home while another process is between writing the new key and adopting its card: the key must stay. When
// that process is gone, the next opening drops what it left.
func TestRenewalUnderWay(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	files := []string{filepath.Join(w.Home("alpha"), "card.next"), filepath.Join(w.Home("alpha"), "keys", "statement.key.next")}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("not adopted yet\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := flock.New(filepath.Join(w.Home("alpha"), "lock"))
	if held, err := other.TryLock(); err != nil || !held {
		t.Fatal(held, err)
	}
	w.home("alpha")
	for _, f := range files {
		if _, err := os.Lstat(f); err != nil {
			t.Errorf("a renewal under way lost a file: %v", err)
		}
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	w.home("alpha")
	for _, f := range files {
		if _, err := os.Lstat(f); err == nil {
			t.Errorf("%s was left", f)
		}
	}
}
