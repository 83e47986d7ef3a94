package node_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/node"
)

func initOptions(name, recovery string) node.InitOptions {
	return node.InitOptions{Member: name, Address: "127.0.0.1:7443", RecoveryDir: recovery, Now: time.Now()}
}

// An init that is refused removes nothing that was there before it.
func TestInitKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recovery := filepath.Join(dir, "recovery")
	made, err := node.Init(t.Context(), filepath.Join(dir, "alpha"), initOptions("alpha", recovery))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(made.RecoveryFile)
	if err != nil {
		t.Fatal(err)
	}
	_, err = node.Init(t.Context(), filepath.Join(dir, "second"), initOptions("alpha", recovery))
	wantFault(t, err, fault.Conflict, "recovery key of alpha")
	if again, err := os.ReadFile(made.RecoveryFile); err != nil || string(again) != string(key) {
		t.Errorf("the recovery key is gone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "second")); err == nil {
		t.Error("half a home is left")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Init(t.Context(), file, initOptions("bravo", "")); err == nil {
		t.Error("a file became a home")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is gone: %v", err)
	}
	_, err = node.Init(t.Context(), dir, initOptions("bravo", ""))
	wantFault(t, err, fault.Misused, "is not empty")
}

// Of two inits at once in one folder one wins, and the other neither removes nor replaces anything of it.
func TestInitTogether(t *testing.T) {
	t.Parallel()
	for i := range 24 {
		dir := t.TempDir()
		home := filepath.Join(dir, "alpha")
		var made [2]*node.Initialised
		var errs [2]error
		var both sync.WaitGroup
		for j := range made {
			both.Go(func() {
				time.Sleep(time.Duration(i/2*j) * time.Millisecond) // the second finds the first at different points
				recovery := filepath.Join(dir, "recovery")
				if i%2 == 1 {
					recovery += strconv.Itoa(j)
				}
				made[j], errs[j] = node.Init(t.Context(), home, initOptions("alpha", recovery))
			})
		}
		both.Wait()
		won := slices.IndexFunc(errs[:], func(err error) bool { return err == nil })
		if won < 0 || errs[1-won] == nil {
			t.Errorf("round %d: %v; %v", i, errs[0], errs[1])
			continue
		}
		h, err := node.OpenHome(t.Context(), home)
		if err != nil {
			t.Errorf("round %d: the home: %v", i, err)
			continue
		}
		key, err := os.ReadFile(made[won].RecoveryFile)
		if err != nil || !strings.Contains(string(key), "PRIVATE+KEY+alpha/recovery+") {
			t.Errorf("round %d: the recovery key: %.40q, %v", i, key, err)
		}
		if keys, err := filepath.Glob(filepath.Join(dir, "recovery*", "*")); err != nil || len(keys) != 1 {
			t.Errorf("round %d: recovery keys %v, %v", i, keys, err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Names become folders, so a name that leads elsewhere must be refused before anything is made or removed.
func TestFoundAllianceKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"alpha", ".."}, {"alpha", "."}, {"alpha", ""}, {"alpha", "../precious"}, {"..", "alpha"}, {"alpha", "Bravo"}, {"alpha", "recovery"}, {"alpha", "alpha"}} {
		dir := t.TempDir()
		precious := filepath.Join(dir, "precious")
		if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		world := filepath.Join(dir, "world")
		if err := os.Mkdir(world, 0o700); err != nil {
			t.Fatal(err)
		}
		err := node.FoundAlliance(t.Context(), node.AllianceOptions{Dir: world, Alliance: "harbour", Members: names, Now: time.Now(),
			Addresses: func(int, string) (string, string) { return "127.0.0.1:7443", "127.0.0.1:7444" }})
		if fault.KindOf(err) != fault.Misused {
			t.Errorf("%q: %v", names, err)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Errorf("%q: %v", names, err)
		}
		if left, err := os.ReadDir(world); err != nil || len(left) != 0 {
			t.Errorf("%q: %v %v", names, left, err)
		}
	}
}

// A home serves once.
func TestServeTwice(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	h, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = h.Serve(t.Context(), node.Options{Log: slog.New(slog.DiscardHandler)})
	wantFault(t, err, fault.Conflict, "another node is using")
	if fault.Hint(err) == "" {
		t.Error("no hint")
	}
	w.send("alpha", submission("bravo"), []byte("the first node goes on"))
}

// A port in use is said to be, and nothing is left running.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo") // holds the ports until its nodes start
	h, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = h.Serve(t.Context(), node.Options{Log: slog.New(slog.DiscardHandler)})
	wantFault(t, err, fault.Conflict, "another program listens at "+h.Config.PeerListen)
	w.start("alpha")
}

// Keys that others may read are refused with the command that mends it, and no node starts.
func TestLooseKeys(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	name := filepath.Join(w.Home("alpha"), "keys", "sealing.key")
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err == nil || fault.Hint(err) == "" {
		t.Errorf("got %v, hint %q", err, fault.Hint(err))
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start("alpha")
}
