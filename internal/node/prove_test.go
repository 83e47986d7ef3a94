package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entente.example/internal/evidence"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// verifier is the built entente-verify.
type verifier struct {
	program, charter string
	w                *world
}

func (w *world) verifier() *verifier {
	w.t.Helper()
	v := &verifier{filepath.Join(w.t.TempDir(), "entente-verify"), w.history.Alliance().String(), w}
	if runtime.GOOS == "windows" {
		v.program += ".exe"
	}
	build := exec.Command("go", "build", "-o", v.program, "entente.example/cmd/entente-verify")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("build the verifier: %v\n%s", err, out)
	}
	return v
}

// verify gives an evidence file to the program where there is nothing else: no node, no home, no configuration, no environment.
func (v *verifier) verify(raw []byte) (got evidence.Verdict) {
	v.w.t.Helper()
	here, home := v.w.t.TempDir(), v.w.t.TempDir()
	cmd := exec.Command(v.program, "-", "--charter", v.charter, "--json")
	cmd.Dir, cmd.Env, cmd.Stdin = here, []string{"HOME=" + home}, bytes.NewReader(raw)
	out, err := cmd.Output()
	if e := json.Unmarshal(out, &got); e != nil || (err == nil) != got.Valid {
		v.w.t.Fatalf("entente-verify: %v, %v\n%s", err, e, out)
	}
	for _, dir := range []string{here, home} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			v.w.t.Errorf("entente-verify left %v, %v", left, err)
		}
	}
	return got
}

// agreedBy makes an agreement that alpha and bravo signed and only these adopted.
func (w *world) agreedBy(name string, adopters ...string) {
	w.t.Helper()
	homes := map[string]*node.Home{}
	for _, m := range []string{"alpha", "bravo"} {
		h, err := w.Open(w.t.Context(), m)
		if err != nil {
			w.t.Fatal(err)
		}
		defer h.Close()
		homes[m] = h
	}
	now := time.Now()
	file, err := homes["alpha"].DraftAgreement(w.t.Context(), statement.Agreement{Name: name, Version: 1, Parties: []string{"alpha", "bravo"},
		Purposes: []string{"incident-response"}, Ceiling: "TLP:AMBER", RetainDays: 90, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(1, 0, 0)})
	for _, m := range []string{"alpha", "bravo"} {
		if err == nil {
			file, err = homes[m].SignAgreement(w.t.Context(), file)
		}
	}
	for _, m := range adopters {
		if err == nil {
			_, err = homes[m].AdoptAgreement(w.t.Context(), now, file)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Every state in which an exchange can end is proved to somebody who has none of the nodes: by what real nodes did, exported by each side
// that knows of it, verified by the package and by the program. And each file says what it does not prove.
func TestEvidenceOfEveryState(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	program := w.verifier()
	w.agreedBy("unknown-to-bravo", "alpha")
	w.start("alpha", "bravo", "charlie")

	refs := map[string]string{}
	for _, state := range []string{"delivered", "opened", "refused"} {
		sub := submission("bravo")
		if state == "refused" {
			sub.Agreement = "unknown-to-bravo"
		}
		refs[state] = w.send("alpha", sub, []byte("The document that is "+state+".\n"))[0]
	}
	w.await("alpha", refs["delivered"], "delivered")
	w.await("alpha", refs["refused"], "refused")
	w.await("alpha", refs["opened"], "delivered")
	if _, err := open(t.Context(), w.person("bravo"), refs["opened"]); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", refs["opened"], "opened")

	// Alpha's node would not send what is not what its manifest says, so alpha is played for that. Its home does not know of it.
	broken := w.document("alpha", []string{"bravo"}, "")
	w.reseal(broken, []byte(inner(statement.HashBytes([]byte("another")), "a.txt")+"of another manifest"), "bravo")
	if _, err := w.peer("alpha", "bravo").deliver(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	refs["undecryptable"] = "alpha/" + broken.m.ID + "/bravo"
	if got, err := open(t.Context(), w.person("bravo"), refs["undecryptable"]); err == nil || len(got) != 0 {
		t.Fatalf("opened %q: %v", got, err)
	}

	w.stop("charlie") // which would have taken it
	late := submission("charlie")
	late.DeliverSeconds = 2
	refs["expired"] = w.send("alpha", late, []byte("too late"))[0]
	w.await("alpha", refs["expired"], "expired")
	w.start("charlie") // as a witness again, so that all of the below is co-signed
	w.cosigned("alpha")
	w.cosigned("bravo")

	for _, c := range []struct {
		state, member, claims string
		missing               bool // the other side's leaves
		not                   string
	}{
		{"delivered", "alpha", "released stored delivered", false, "does not open the commitment"},
		{"delivered", "bravo", "released stored delivered", false, "does not open the commitment"},
		{"opened", "alpha", "released stored delivered opened", false, "does not open the commitment"},
		{"opened", "bravo", "released stored delivered opened", false, "does not open the commitment"},
		{"refused", "alpha", "released refused", false, "does not open the commitment"},
		{"refused", "bravo", "released refused", false, "the agreement unknown-to-bravo is not in the file"},
		{"undecryptable", "bravo", "stored undecryptable", true, "What alpha recorded"},
		{"expired", "alpha", "released expired", true, "is the word of alpha alone"},
	} {
		name := c.state + ", by " + c.member
		var file bytes.Buffer
		done, err := w.person(c.member).Evidence(t.Context(), refs[c.state], false, &file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (done.GetOtherSideMissing() != "") != c.missing {
			t.Errorf("%s: missing %q", name, done.GetOtherSideMissing())
		}
		here := evidence.Verify(file.Bytes(), evidence.Options{Charter: w.history.Alliance(), Now: time.Now()})
		for by, v := range map[string]evidence.Verdict{"package": here, "program": program.verify(file.Bytes())} {
			if !v.Valid || claims(v) != c.claims {
				t.Errorf("%s, verified by the %s: valid %v %q %s", name, by, v.Valid, claims(v), v.Why)
			}
			if !slices.ContainsFunc(v.NotProved, func(s string) bool { return strings.Contains(s, c.not) }) {
				t.Errorf("%s, verified by the %s: it does not say %q, but %q", name, by, c.not, v.NotProved)
			}
			for _, claim := range v.Claims {
				if claim.Since.IsZero() {
					t.Errorf("%s: %s is not witnessed", name, claim.Claim)
				}
			}
		}
		// One letter of what was signed, and the program says so.
		forged := bytes.Replace(file.Bytes(), []byte("TLP:AMBER"), []byte("TLP:GREEN"), 1)
		if bytes.Equal(forged, file.Bytes()) || program.verify(forged).Valid {
			t.Errorf("%s: a changed label was not found", name)
		}
	}
	if n, err := w.Evidence(t.Context(), 0); err != nil || n != (lab.Proofs{Proved: 8}) {
		t.Errorf("of 8 exchanges, %+v are proved from the disks: %v", n, err)
	}
}

// Without a quorum, evidence waits for one once, however many leaves it has, and both sides wait at the same time. Who asks again and again does not
// have the witnesses asked more often for it.
func TestEvidenceWithoutQuorum(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie", "delta")
	var asked atomic.Int64 // by alpha's node
	w.playWitness("charlie", &badWitness{answer: func(ctx context.Context, _ *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
		if rpc.CallerFrom(ctx).Member == "alpha" {
			asked.Add(1)
		}
		return nil, errors.New("not now")
	}})
	w.start("alpha", "bravo")
	ref := w.send("alpha", submission("bravo"), []byte("All quiet.\n"))[0]
	w.await("alpha", ref, "delivered")
	if _, err := open(t.Context(), w.person("bravo"), ref); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", ref, "opened")

	began := time.Now()
	v, missing, err := w.evidence("alpha", w.Person("alpha"), ref, false, evidence.Options{})
	took := time.Since(began)
	if err != nil || !v.Valid || claims(v) != "released stored delivered opened" || missing != "" {
		t.Fatalf("%v %q %q %s", err, claims(v), missing, v.Why)
	}
	leaves := 0
	for _, c := range v.Claims {
		leaves += len(c.Leaves)
		if !c.Since.IsZero() {
			t.Errorf("%s is witnessed, by half a quorum", c.Claim)
		}
	}
	if leaves < 6 || took < limit.ProveWait || took > 2*limit.ProveWait {
		t.Errorf("%d leaves took %s", leaves, took)
	}

	before, began := asked.Load(), time.Now()
	alice := w.person("alpha")
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := alice.Evidence(t.Context(), ref, false, &bytes.Buffer{}); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(50 * time.Millisecond)
	}
	all.Wait()
	// Once a second, once more at the end of it, and what its own pauses would have let through in that time.
	if got, most := asked.Load()-before, int64(time.Since(began)/limit.HurryPause)+4; got < 2 || got > most {
		t.Errorf("charlie was asked %d times in %s, at most %d are allowed", got, time.Since(began), most)
	}
}
