package lab_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// How hard TestKilledAtAnyMoment tries; "make torture-lite" tries harder. What it does follows from the seed, but not when
// the operating system lets it happen.
const (
	killRounds = 10
	killSize   = 24 << 20
)

// TestKilledAtAnyMoment runs alpha and bravo as processes of the real program, and kills either of them, without a
// warning, at random moments of a transfer: while a person hands the document in, while it is sealed, sent, received,
// committed, answered. Whatever the moment, each document is delivered once, under one receipt.
//
//	ENTENTE_KILL_ROUNDS   how many documents (10)
//	ENTENTE_KILL_MIB      their size in MiB (24)
//	ENTENTE_KILL_SEED     repeats a run (default: another one each time)
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds, size := number(t, "ENTENTE_KILL_ROUNDS", killRounds), number(t, "ENTENTE_KILL_MIB", killSize>>20)<<20
	seed := number(t, "ENTENTE_KILL_SEED", rand.Uint64())
	t.Logf("ENTENTE_KILL_SEED=%d ENTENTE_KILL_ROUNDS=%d ENTENTE_KILL_MIB=%d", seed, rounds, size>>20)
	k := &killing{t: t, random: rand.New(rand.NewPCG(seed, 0)), size: int64(size), sums: map[string][32]byte{}}
	k.prepare()
	for range rounds {
		k.round()
	}
	k.checkInbox()
	k.openSome()
	k.stop()
	k.checkHomes()
	t.Logf("%d documents of %d MiB, %d kills of alpha, %d of bravo, %v for a transfer that nobody disturbs",
		rounds, size>>20, k.kills["alpha"], k.kills["bravo"], k.usual.Round(time.Millisecond))
}

func number[N uint64 | int](t *testing.T, name string, otherwise N) N {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return N(n)
}

// killing is a run of TestKilledAtAnyMoment.
type killing struct {
	t       *testing.T
	random  *rand.Rand // of the one goroutine that plans
	size    int64
	program string
	world   *lab.World
	alpha   *process
	bravo   *process
	alice   *client.Client
	usual   time.Duration       // that a transfer takes if nobody disturbs it
	sums    map[string][32]byte // of the documents, by id
	kills   map[string]int
}

// prepare builds the program, founds a world, and lets go of its ports, so that processes can take them.
func (k *killing) prepare() {
	k.t.Helper()
	k.kills = map[string]int{}
	k.program = build(k.t)
	w, err := lab.Found(k.t.Context(), lab.Options{Dir: filepath.Join(k.t.TempDir(), "world"), Members: []string{"alpha", "bravo"}})
	if err != nil {
		k.t.Fatal(err)
	}
	k.world = w
	_, err = w.Agree(k.t.Context(), lab.Agreement{Name: "harbour-watch", Parties: []string{"alpha", "bravo"}, Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90})
	if err := errors.Join(err, w.Close()); err != nil {
		k.t.Fatal(err)
	}
	k.alpha, k.bravo = k.process("alpha"), k.process("bravo")
	k.alpha.start()
	k.bravo.start()
	if k.alice, err = w.Client("alpha", "alice"); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = k.alice.Close() })
	for range 2 { // the first also warms everything up
		id, doc := k.document()
		began := time.Now()
		k.transfer(id, doc)
		k.usual = time.Since(began)
	}
}

// build compiles the program once; the go command keeps what has not changed.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "entente")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", program, "entente.example/cmd/entente").CombinedOutput()
	if err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return program
}

// strike is one kill: of whom, and when. What matters most happens within a few milliseconds around a commit, which a
// moment picked from the whole transfer would seldom hit. So two strikes of three wait until a member has a new blob, which
// it has right before it commits the document, and strike within moments of that.
type strike struct {
	victim *process
	watch  string // member whose next blob is waited for, or empty
	after  time.Duration
}

func (k *killing) plan() (strikes []strike) {
	for range 1 + k.random.IntN(3) {
		s := strike{victim: k.alpha, after: time.Duration(k.random.Int64N(int64(k.usual)))}
		if k.random.IntN(2) == 0 {
			s.victim = k.bravo
		}
		if i := k.random.IntN(3); i < len(k.world.Names) {
			s.watch, s.after = k.world.Names[i], time.Duration(k.random.Int64N(int64(40*time.Millisecond)))
		}
		strikes = append(strikes, s)
	}
	return strikes
}

// round sends one document while a node is killed up to three times.
func (k *killing) round() {
	k.t.Helper()
	strikes := k.plan()
	id, doc := k.document()
	done := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for _, s := range strikes {
			if !k.wait(s, done) {
				return
			}
			s.victim.kill()
			s.victim.start()
			k.kills[s.victim.member]++
		}
	})
	k.transfer(id, doc)
	close(done)
	killer.Wait()
	if k.t.Failed() {
		k.t.FailNow()
	}
}

// wait waits for the moment to strike. It tells whether the transfer still goes on then.
func (k *killing) wait(s strike, done <-chan struct{}) bool {
	for s.watch != "" && k.blobs(s.watch) < len(k.sums) {
		select {
		case <-done:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-done:
		return false
	case <-time.After(s.after):
		return true
	}
}

// blobs counts the blobs of a member; each document has one in the end.
func (k *killing) blobs(member string) int {
	paths, _ := filepath.Glob(filepath.Join(k.world.Home(member), "blobs", "*", "*")) // the pattern is well formed
	return len(paths)
}

// document makes up a document that nobody can make smaller, and gives it an id.
func (k *killing) document() (id string, doc *bytes.Reader) {
	b := make([]byte, k.size)
	var key [32]byte
	for i := range key {
		key[i] = byte(k.random.Uint32())
	}
	_, _ = rand.NewChaCha8(key).Read(b)
	id = client.NewID()
	k.sums[id] = sha256.Sum256(b)
	return id, bytes.NewReader(b)
}

// transfer does what a person does who is told that the node cannot be reached: the same again. Then it waits for the
// receipt.
func (k *killing) transfer(id string, doc io.ReadSeeker) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 2*time.Minute)
	defer cancel()
	sub := &ententev1.Submission{Id: id, To: []string{"bravo"}, Agreement: "harbour-watch", Purpose: "exercise", Label: "TLP:AMBER", FileName: "document.bin", MediaType: "application/octet-stream"}
	var out *ententev1.SendResponse
	var err error
	for out == nil {
		if out, err = k.alice.Send(ctx, sub, doc); err != nil && fault.KindOf(err) != fault.Transient {
			k.t.Fatalf("send: %v", err)
		}
		if ctx.Err() != nil {
			k.t.Fatalf("send: %v\n%s", err, k.world.Report(k.t.Context()))
		}
	}
	x, err := k.alice.Settle(ctx, out.GetExchanges()[0])
	if err != nil {
		k.t.Fatalf("await: %v\n%s", err, k.world.Report(k.t.Context()))
	}
	if x.GetState() != "delivered" {
		k.t.Fatalf("%s is %s\n%s", x.GetRef(), x.GetState(), k.world.Report(k.t.Context()))
	}
}

// checkInbox wants every document in bravo's inbox once, and the same receipt on both sides.
func (k *killing) checkInbox() {
	k.t.Helper()
	in, err := k.world.Exchanges(k.t.Context(), "bravo", ententev1.Direction_DIRECTION_IN)
	if err != nil {
		k.t.Fatal(err)
	}
	out, err := k.world.Exchanges(k.t.Context(), "alpha", ententev1.Direction_DIRECTION_OUT)
	if err != nil {
		k.t.Fatal(err)
	}
	if len(in) != len(k.sums) || len(out) != len(k.sums) {
		k.t.Errorf("%d documents were sent; alpha lists %d, bravo %d", len(k.sums), len(out), len(in))
	}
	receipts := map[string][]byte{}
	for _, x := range in {
		if len(x.GetReceipts()) != 1 || receipts[x.GetId()] != nil {
			k.t.Fatalf("%s is in bravo's inbox twice, or has %d receipts", x.GetRef(), len(x.GetReceipts()))
		}
		receipts[x.GetId()] = x.GetReceipts()[0].GetRaw()
	}
	for _, x := range out {
		if len(x.GetReceipts()) != 1 || !bytes.Equal(x.GetReceipts()[0].GetRaw(), receipts[x.GetId()]) {
			k.t.Errorf("%s: alpha has another receipt than bravo signed", x.GetRef())
		}
	}
}

// openSome opens three documents and compares them with what was sent.
func (k *killing) openSome() {
	k.t.Helper()
	bob, err := k.world.Client("bravo", "bob")
	if err != nil {
		k.t.Fatal(err)
	}
	defer bob.Close()
	opened := 0
	for id, sum := range k.sums {
		hash := sha256.New()
		if _, err := bob.Open(k.t.Context(), "alpha/"+id+"/bravo", func(*ententev1.Opened) (io.Writer, error) { return hash, nil }); err != nil {
			k.t.Errorf("open %s: %v", id, err)
		} else if [32]byte(hash.Sum(nil)) != sum {
			k.t.Errorf("open %s: it is another document", id)
		}
		if _, err := k.alice.Await(k.t.Context(), "alpha/"+id+"/bravo", func(x *ententev1.Exchange) bool { return x.GetState() == "opened" }); err != nil {
			k.t.Error(err)
		}
		if opened++; opened == 3 {
			return
		}
	}
}

func (k *killing) stop() {
	k.alpha.kill()
	k.bravo.kill()
}

// checkHomes starts both nodes once more inside the test, because what a crash left is tidied up at a start, and then
// looks at everything on the disks.
func (k *killing) checkHomes() {
	k.t.Helper()
	if err := errors.Join(k.world.StartAll(k.t.Context()), k.world.Close()); err != nil {
		k.t.Fatal(err)
	}
	if err := k.world.Check(k.t.Context()); err != nil {
		k.t.Error(err)
	}
	for _, member := range k.world.Names {
		staged, err := os.ReadDir(filepath.Join(k.world.Home(member), "staging"))
		if err != nil || len(staged) > 0 {
			k.t.Errorf("%s: staging files are left: %v %v", member, staged, err)
		}
		k.checkBlobs(member)
	}
}

// checkBlobs wants one blob for each document, no more.
func (k *killing) checkBlobs(member string) {
	k.t.Helper()
	h, err := node.OpenReader(k.t.Context(), k.world.Home(member))
	if err != nil {
		k.t.Fatal(err)
	}
	defer h.Close()
	blobs := 0
	err = h.Blobs.Walk(func(path string, _ statement.Hash, ok bool) error {
		blobs++
		if !ok {
			k.t.Errorf("%s: blobs/%s is no blob", member, path)
		}
		return nil
	})
	if err != nil || blobs != len(k.sums) {
		k.t.Errorf("%s holds %d blobs for %d documents: %v", member, blobs, len(k.sums), err)
	}
}

// process is a node in a process of its own.
type process struct {
	k      *killing
	member string
	cmd    *exec.Cmd
	stderr *os.File
}

func (k *killing) process(member string) *process {
	k.t.Helper()
	stderr, err := os.Create(filepath.Join(k.t.TempDir(), member+".log"))
	if err != nil {
		k.t.Fatal(err)
	}
	p := &process{k: k, member: member, stderr: stderr}
	k.t.Cleanup(func() {
		p.kill()
		if k.t.Failed() {
			said, _ := os.ReadFile(stderr.Name())
			k.t.Logf("%s logged:\n%s", member, said[max(0, len(said)-8<<10):])
		}
		_ = stderr.Close()
	})
	return p
}

// start starts the node and waits until it says that it is ready. Right after a kill, somebody else may have been given
// one of its ports for a moment, so it tries for a while.
func (p *process) start() {
	for try := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		p.cmd = exec.Command(p.k.program, "node", "--json", "--home", p.k.world.Home(p.member))
		p.cmd.Stderr = p.stderr
		ready, err := p.cmd.StdoutPipe()
		if err == nil {
			err = p.cmd.Start()
		}
		if err != nil {
			p.k.t.Errorf("start %s: %v", p.member, err)
			p.cmd = nil
			return
		}
		if n, _ := ready.Read(make([]byte, 1)); n == 1 {
			return
		}
		err = p.cmd.Wait()
		p.cmd = nil
		if time.Since(try) > time.Minute {
			p.k.t.Errorf("%s does not start: %v", p.member, err)
			return
		}
	}
}

// kill ends the process at once: SIGKILL, where there are signals.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it says that it was killed
	p.cmd = nil
}
