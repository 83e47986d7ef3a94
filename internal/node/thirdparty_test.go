//go:build thirdparty

// What others wrote must accept our logs, unmodified: these tests build public programs from their published sources and run them. That
// takes a minute the first time, so they have a tag of their own; make thirdparty runs them.

package node_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	_ "modernc.org/sqlite" // the driver of litewitness's database

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/lab"
	"entente.example/internal/statement"
)

// program builds a program of a module below tools/.
func program(t *testing.T, tool, path string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-modfile=tools/"+tool+"/go.mod", "-o", out, path)
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", path, err, said)
	}
	return out
}

// litewitness is Torchwood's witness, in a process of its own.
type litewitness struct {
	t       *testing.T
	program string
	dir     string
	address string
	socket  string // of the SSH agent that holds its key
	print   string // of that key
	cmd     *exec.Cmd
	said    *bytes.Buffer
	terms   statement.OutsideWitness
}

const litewitnessName = "witness.example/lite"

// newLitewitness builds the program and serves its key, which it takes from an SSH agent. It does not run yet.
func newLitewitness(t *testing.T) *litewitness {
	t.Helper()
	l := &litewitness{t: t, program: program(t, "litewitness", "filippo.io/torchwood/cmd/litewitness"), dir: t.TempDir()}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	typed := append([]byte{4}, public...) // C2SP tlog-cosignature, Ed25519
	hash := sha256.Sum256(append([]byte(litewitnessName+"\n"), typed...))
	l.terms = statement.OutsideWitness{Name: "lite", Key: fmt.Sprintf("%s+%x+%s", litewitnessName, hash[:4], base64.StdEncoding.EncodeToString(typed))}

	keys := agent.NewKeyring()
	key, err := ssh.NewPublicKey(public)
	if err := errors.Join(err, keys.Add(agent.AddedKey{PrivateKey: private})); err != nil {
		t.Fatal(err)
	}
	l.print = ssh.FingerprintSHA256(key)
	short, err := os.MkdirTemp("", "agent") // the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	l.socket = filepath.Join(short, "s")
	listener, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn); conn.Close() }()
		}
	}()

	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, port.Close()); err != nil {
		t.Fatal(err)
	}
	l.address = port.Addr().String()
	l.terms.URL = "http://" + l.address
	return l
}

// start runs it until stop, or the end of the test.
func (l *litewitness) start() {
	l.t.Helper()
	l.said = new(bytes.Buffer)
	l.cmd = exec.CommandContext(l.t.Context(), l.program, "-name", litewitnessName, "-db", filepath.Join(l.dir, "db"), "-ssh-agent", l.socket, "-key", l.print, "-listen", l.address)
	l.cmd.Stderr = l.said
	if err := l.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	if !eventually(func() bool {
		conn, err := net.Dial("tcp", l.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		l.t.Fatal("litewitness does not listen")
	}
}

// stop ends it, and looks whether it took the key for the one that the charter lists.
func (l *litewitness) stop() {
	l.t.Helper()
	err := l.cmd.Process.Signal(os.Interrupt)
	if err := errors.Join(err, l.cmd.Wait()); err != nil {
		l.t.Errorf("litewitness: %v\n%s", err, l.said)
	}
	if !strings.Contains(l.said.String(), l.terms.Key) {
		l.t.Errorf("litewitness has another key than %s:\n%s", l.terms.Key, l.said)
	}
}

// query is for its database. What witnessctl add-log and add-key do is one INSERT each.
func (l *litewitness) query(fn func(*sql.DB) error) {
	l.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(l.dir, "db")+"?_pragma=busy_timeout(5000)")
	if err == nil {
		err = errors.Join(fn(db), db.Close())
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *litewitness) know(origin, vkey string) {
	l.t.Helper()
	empty := sha256.Sum256(nil)
	l.query(func(db *sql.DB) error {
		_, err := db.Exec("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", origin, base64.StdEncoding.EncodeToString(empty[:]))
		if err == nil {
			_, err = db.Exec("INSERT INTO key (origin, key) VALUES (?, ?)", origin, vkey)
		}
		return err
	})
}

func (l *litewitness) holds(origin string) (size int64) {
	l.t.Helper()
	l.query(func(db *sql.DB) error {
		return db.QueryRow("SELECT tree_size FROM log WHERE origin = ?", origin).Scan(&size)
	})
	return size
}

// TestLitewitness has an alliance's log witnessed by a program that never heard of us, through our node's own rounds, by what
// the charter says.
func TestLitewitness(t *testing.T) {
	l := newLitewitness(t)
	w := foundWith(t, lab.Options{Members: []string{"alpha", "bravo"}, Witnesses: []statement.OutsideWitness{l.terms}})
	alpha, _ := w.history.Member("alpha")
	const origin = "alpha/log/1"
	l.start()
	w.start("alpha")                   // and bravo, the only other witness, is away
	time.Sleep(500 * time.Millisecond) // it is asked, and does not know the log yet: 404
	l.know(origin, alpha.LogKey)

	sizes := map[int64]bool{}
	for range 5 {
		got := w.cosigned("alpha") // which verifies every line
		if len(got.Cosigned) != 1 || got.Cosigned[0].Witness != litewitnessName || got.Cosigned[0].PQ || time.Since(got.Cosigned[0].Time).Abs() > time.Minute {
			t.Fatalf("co-signed by %+v", got.Cosigned)
		}
		if held := l.holds(origin); held != got.Tree.N {
			t.Errorf("litewitness holds %d of %d leaves", held, got.Tree.N)
		}
		sizes[got.Tree.N] = true
		w.send("alpha", submission("bravo"), []byte("a document")) // and the proof that the log only grew
	}
	if len(sizes) != 5 {
		t.Errorf("the log was co-signed at the sizes %v", sizes)
	}

	// Both go away for a while. Alpha has forgotten meanwhile where the witness was: it learns it from the status 409.
	w.cosigned("alpha")
	w.stop("alpha")
	l.stop()
	db, err := sql.Open("sqlite", filepath.Join(w.Home("alpha"), "entente.db")+"?_pragma=busy_timeout(5000)")
	if err == nil {
		_, err = db.Exec("DELETE FROM witness")
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	w.start("alpha")
	l.start()
	w.send("alpha", submission("bravo"), []byte("another document"))
	if got := w.cosigned("alpha"); l.holds(origin) != got.Tree.N {
		t.Errorf("litewitness holds %d of %d leaves", l.holds(origin), got.Tree.N)
	}
	w.stop("alpha")
	l.stop()
}

// TestFsck has a log checked by Tessera's fsck over HTTP: checkpoint and hash tiles from our listener for strangers, with all lines of log
// and witness, and the leaves, which that does not give, from an auditor's export.
func TestFsck(t *testing.T) {
	fsck := program(t, "fsck", "github.com/transparency-dev/tessera/cmd/fsck")
	w := found(t, "alpha", "bravo")
	url := w.strangers("alpha")
	w.start("alpha", "bravo")
	alice := w.person("alpha")
	for range 130 { // each is released and delivered: more leaves than one tile has
		if _, err := alice.Send(t.Context(), submission("bravo"), strings.NewReader("a document")); err != nil {
			t.Fatal(err)
		}
	}
	delivered := func() (n int) {
		for _, l := range w.state("alpha").leaves {
			if l.Kind == statement.EventDelivered {
				n++
			}
		}
		return n
	}
	if !eventually(func() bool { return delivered() == 130 }) || w.cosigned("alpha").Tree.N <= 260 { // and the log does not grow any more
		t.Fatal("not everything was delivered and co-signed")
	}
	h, dir := w.reader("alpha"), filepath.Join(t.TempDir(), "export")
	alpha, _ := w.history.Member("alpha")
	if _, err := audit.Export(t.Context(), h.DB, checkpoint.Log{Ed25519: alpha.LogKey, MLDSA: alpha.LogMLDSA}, dir); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(alpha.LogKey), 0o600); err != nil {
		t.Fatal(err)
	}
	var spoilt string // a path at which one bit is wrong
	served := map[string]int{}
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		kind := regexp.MustCompile(`^/(checkpoint|tile/entries|tile)`).FindString(r.URL.Path)
		var content []byte
		if kind == "/tile/entries" {
			content, _ = os.ReadFile(filepath.Join(dir, filepath.FromSlash(r.URL.Path)))
		} else if got := request(t, http.MethodGet, url+r.URL.Path, nil); got.status == 200 {
			content = []byte(got.body)
		}
		if content == nil {
			http.NotFound(rw, r)
			return
		}
		served[kind]++
		if r.URL.Path == spoilt {
			content[20] ^= 1 // in the root, in a hash, in a leaf
		}
		_, _ = rw.Write(content)
	}))
	defer front.Close()
	check := func(patience time.Duration) string {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		said, _ := exec.CommandContext(ctx, fsck, "-ui=false", "-logtostderr", "-storage_url="+front.URL, "-public_key="+key).CombinedOutput()
		return string(said)
	}
	const good = "Successfully fsck'd log"
	if said := check(patience); !strings.Contains(said, good) || served["/checkpoint"] == 0 || served["/tile"] < 3 || served["/tile/entries"] < 2 {
		t.Errorf("served %v, and fsck says\n%s", served, said)
	}
	for _, spoilt = range []string{"/checkpoint", "/tile/0/000", "/tile/entries/000"} {
		// It does not end by itself when a tile is wrong; a sound log of this size takes it far less than a second.
		if said := strings.ToLower(check(5 * time.Second)); strings.Contains(said, strings.ToLower(good)) || !strings.Contains(said, "fsck") {
			t.Errorf("fsck does not see what is wrong with %s:\n%s", spoilt, said)
		}
	}
}
