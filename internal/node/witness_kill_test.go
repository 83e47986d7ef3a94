package node_test

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/identity"
	"entente.example/internal/lab"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	ententev1 "entente.example/proto/entente/v1"
)

// twoFaced is alpha, played by the test with its real keys: it signs two histories and has both witnessed.
type twoFaced struct {
	t       *testing.T
	keys    *identity.Keys
	config  rpc.Config
	bravo   member.Member
	hashes  [2][]tlog.Hash
	mu      sync.Mutex
	largest int64    // that bravo co-signed
	won     [2]int64 // how many co-signatures each history got
}

func (f *twoFaced) reader(face int) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var list []tlog.Hash
		for _, i := range indexes {
			list = append(list, f.hashes[face][i])
		}
		return list, nil
	})
}

const faceLeaves = 64

func (f *twoFaced) prepare() {
	for face := range f.hashes {
		for i := range int64(faceLeaves) {
			h, err := tlog.StoredHashes(i, []byte{byte(face), byte(i)}, f.reader(face))
			if err != nil {
				f.t.Fatal(err)
			}
			f.hashes[face] = append(f.hashes[face], h...)
		}
	}
}

// ask asks bravo once for the co-signature of a size of one history, from the size that bravo says it holds.
func (f *twoFaced) ask(ctx context.Context, face int, size int64) {
	conn, err := rpc.DialPeer(f.bravo, f.config)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer conn.Close()
	for old := int64(0); ctx.Err() == nil; {
		r := checkpoint.Request{Old: old}
		root, err := tlog.TreeHash(size, f.reader(face))
		if err == nil && old > 0 && old < size {
			r.Proof, err = tlog.ProveTree(size, old, f.reader(face))
		}
		if err == nil {
			r.Checkpoint, err = checkpoint.Sign(tlog.Tree{N: size, Hash: root}, time.Unix(1e9, 0), f.keys.Log, f.keys.LogMLDSA)
		}
		if err != nil {
			f.t.Error(err)
			return
		}
		a, err := ententev1.NewPeerServiceClient(conn).Witness(ctx, &ententev1.WitnessRequest{Request: r.Format()})
		switch {
		case err != nil: // bravo was killed
			return
		case a.GetStatus() == audit.StatusOK:
			f.note(face, size, a.GetBody(), r.Checkpoint)
			return
		case a.GetStatus() != audit.StatusConflict:
			return
		}
		held, tree, err := checkpoint.Head(a.GetHeld())
		if err != nil || held != "alpha/log/1" || tree.N > size || tree.N <= old {
			return
		}
		old = tree.N
	}
}

func (f *twoFaced) note(face int, size int64, body, bare []byte) {
	if _, _, err := checkpoint.Answer(bare, body, checkpoint.Witness{Ed25519: f.bravo.WitnessKey, MLDSA: f.bravo.WitnessMLDSA}); err != nil {
		f.t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.won[face]++
	f.largest = max(f.largest, size)
}

// TestWitnessKilled runs bravo as a process of the real program and asks it 64 times at once, over TLS, to co-sign two histories of
// alpha's log, and kills it meanwhile without a warning, again and again. In the end exactly one history was co-signed, and bravo holds no
// less than what it co-signed.
func TestWitnessKilled(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "entente")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", program, "entente.example/cmd/entente").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	w, err := lab.Found(t.Context(), lab.Options{Dir: filepath.Join(t.TempDir(), "world"), Members: []string{"alpha", "bravo"}})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	f := &twoFaced{t: t}
	if f.keys, err = identity.Load(w.Home("alpha"), "alpha"); err != nil {
		t.Fatal(err)
	}
	h, err := node.OpenReader(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	history, err := h.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.bravo, _ = history.Member("bravo")
	f.config = rpc.Config{Self: "alpha", Cert: f.keys.Node, CA: f.keys.CA, Log: slog.New(slog.DiscardHandler), Now: time.Now, History: func() *member.History { return history }}
	f.prepare()
	const rounds = 6
	for round := range rounds {
		cmd := exec.Command(program, "node", "--json", "--home", w.Home("bravo"))
		ready, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ready.Read(make([]byte, 1)); err != nil {
			t.Fatalf("bravo did not start: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() { f.ask(ctx, i%2, int64(1+round*faceLeaves/rounds+i%(faceLeaves/rounds))) })
		}
		if round < rounds-1 { // in the last round everybody gets an answer
			time.Sleep(time.Duration(10+20*round) * time.Millisecond)
			_ = cmd.Process.Kill()
		}
		all.Wait()
		cancel()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	list, err := audit.ListWitnessed(filepath.Join(w.Home("bravo"), "head"))
	if err != nil || len(list) != 1 {
		t.Fatalf("bravo holds %+v, %v", list, err)
	}
	if f.won[0] > 0 == (f.won[1] > 0) {
		t.Errorf("co-signed: %v of the two histories", f.won)
	}
	face := map[bool]int{true: 1}[f.won[1] > 0]
	root, err := tlog.TreeHash(list[0].Tree.N, f.reader(face))
	if err != nil || root != list[0].Tree.Hash || list[0].Tree.N < f.largest {
		t.Errorf("bravo holds %d leaves of another history, or fewer than the %d that it co-signed: %v", list[0].Tree.N, f.largest, err)
	}
	t.Logf("co-signed %v, the largest of %d leaves", f.won, f.largest)
}
