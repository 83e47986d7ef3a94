//go:build netns && linux

package lab_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"entente.example/internal/node"
	"entente.example/internal/statement"
)

// What follows needs root, iproute2 and /dev/net/tun, so it is compiled for `make netns-test` only.

const (
	netLoss = 0.05                  // of the packets, in each direction
	netLate = 50 * time.Millisecond // in each direction
	netSize = 1 << 20
)

// lossy carries IP packets between two namespaces, and loses some of them. It stands for tc with netem, which many kernels are built without.
type lossy struct {
	mu      sync.Mutex // guards what follows
	random  *mathrand.Rand
	silent  bool // everything is lost
	lost    int
	carried map[string]int // bytes, by the member that sent them
}

// link makes a network interface in a namespace. Whoever has the file is what it is connected to.
func (n *netLab) link(ns, name, address string) *os.File {
	n.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		n.t.Fatalf("open /dev/net/tun: %v\nhint: this needs root and the tun module", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		n.t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		n.t.Fatalf("make the interface %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name) // not before: there would be nothing to wait for
	n.t.Cleanup(func() { f.Close() })
	n.ip("link", "set", name, "netns", ns)
	n.ip("-n", ns, "address", "add", address+"/24", "dev", name)
	n.ip("-n", ns, "link", "set", name, "up")
	n.ip("-n", ns, "link", "set", "lo", "up")
	return f
}

// carry brings packets of a member from one end to the other, in order, until an end is closed.
func (w *lossy) carry(member string, from, to *os.File) {
	type packet struct {
		b  []byte
		at time.Time
	}
	line := make(chan packet, 1000) // as long as the queue of an interface is
	go func() {
		for p := range line {
			time.Sleep(time.Until(p.at))
			_, _ = to.Write(p.b) // an interface that is down takes nothing
		}
	}()
	defer close(line)
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if errors.Is(err, syscall.EIO) { // it is down
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			return
		}
		w.mu.Lock()
		lost := w.silent || w.random.Float64() < netLoss
		if w.carried[member] += n; lost {
			w.lost++
		}
		w.mu.Unlock()
		if lost {
			continue
		}
		select {
		case line <- packet{bytes.Clone(b[:n]), time.Now().Add(netLate)}:
		default:
		}
	}
}

func (w *lossy) set(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = silent
}

func (w *lossy) sent(member string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.carried[member]
}

// netLab is alpha and bravo, each as a process in a network of its own.
type netLab struct {
	t       *testing.T
	dir     string
	program string
	wire    lossy
}

func (n *netLab) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s\nhint: this needs root and iproute2", strings.Join(args, " "), err, out)
	}
}

func space(member string) string { return fmt.Sprintf("entente-%d-%s", os.Getpid(), member) }

// command is a command of a member's, in its network.
func (n *netLab) command(ctx context.Context, member string, args ...string) *exec.Cmd {
	args = append([]string{"netns", "exec", space(member), n.program}, append(args, "--home", filepath.Join(n.dir, member))...)
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// do runs a command of a member's, and gives the lines of JSON that it prints.
func (n *netLab) do(member string, args ...string) (rows []map[string]any) {
	n.t.Helper()
	var errs bytes.Buffer
	cmd := n.command(n.t.Context(), member, append(args, "--json")...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("%s: entente %s: %v: %s", member, strings.Join(args, " "), err, errs.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		row := map[string]any{}
		if err := d.Decode(&row); err != nil {
			n.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// start starts a member's node, and has it ended with the test.
func (n *netLab) start(member string) {
	n.t.Helper()
	cmd := n.command(context.Background(), member, "node", "--json")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		n.t.Fatalf("%s does not serve: %v: %s", member, err, said.Bytes())
	}
	n.t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			n.t.Errorf("end of %s: %v: %s", member, err, said.Bytes())
		}
		if n.t.Failed() {
			n.t.Logf("%s said: %s", member, said.Bytes()[max(0, said.Len()-3000):])
		}
	})
}

// prepare makes the network, the homes and the nodes.
func (n *netLab) prepare() {
	n.t.Helper()
	if out, err := exec.Command("go", "build", "-o", n.program, "entente.example/cmd/entente").CombinedOutput(); err != nil {
		n.t.Fatalf("build the program: %v: %s", err, out)
	}
	members, addresses, ends := []string{"alpha", "bravo"}, []string{"10.99.0.1", "10.99.0.2"}, []*os.File{}
	now := time.Now().UTC().Truncate(time.Second)
	o := node.AllianceOptions{Dir: n.dir, Alliance: "harbour", Members: members, Now: now.Add(-time.Hour),
		Persons: []node.Persona{{Member: "alpha", Name: "alice", Roles: node.Roles}, {Member: "bravo", Name: "bob", Roles: node.Roles}},
		Agreement: &statement.Agreement{Name: "harbour-watch", Version: 1, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
			Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90, Prose: "The parties exercise.\n"},
		Addresses: func(i int, _ string) (peer, people string) { return addresses[i] + ":7443", "127.0.0.1:7444" }}
	if err := node.FoundAlliance(n.t.Context(), o); err != nil {
		n.t.Fatal(err)
	}
	for i, m := range members {
		n.ip("netns", "add", space(m))
		n.t.Cleanup(func() { n.ip("netns", "delete", space(m)) })
		ends = append(ends, n.link(space(m), fmt.Sprintf("e%d%s", os.Getpid(), m[:1]), addresses[i]))
	}
	go n.wire.carry("alpha", ends[0], ends[1])
	go n.wire.carry("bravo", ends[1], ends[0])
	for _, m := range members {
		n.start(m)
	}
}

// TestNamespaces has alpha send 1 MiB to bravo over a line with loss and latency, which falls silent once and is taken down once meanwhile. The
// document is delivered without anybody doing anything, most of it travels once, and both can prove it.
func TestNamespaces(t *testing.T) {
	n := &netLab{t: t, dir: filepath.Join(t.TempDir(), "world"), program: filepath.Join(t.TempDir(), "entente")}
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	n.wire.random, n.wire.carried = mathrand.New(mathrand.NewPCG(seed, 0)), map[string]int{}
	n.prepare()
	doc, file := make([]byte, netSize), filepath.Join(t.TempDir(), "report.bin")
	_, _ = rand.Read(doc)
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		t.Fatal(err)
	}

	began, before := time.Now(), n.wire.sent("alpha")
	ref, _ := n.do("alpha", "send", file, "--to", "bravo", "--agreement", "harbour-watch", "--purpose", "exercise", "--label", "TLP:GREEN")[0]["exchanges"].([]any)
	if len(ref) != 1 {
		t.Fatalf("sent as %v", ref)
	}
	exchange := fmt.Sprint(ref[0])
	until := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			if time.Since(began) > 3*time.Minute { // it takes some 30 s; TCP may be unlucky
				t.Fatalf("after three minutes not %s: %v", what, n.do("alpha", "show", exchange))
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%6.1f s: %s", time.Since(began).Seconds(), what)
	}
	delivered := func() bool { return n.do("alpha", "show", exchange)[0]["state"] == "delivered" }
	parted := func(what string) {
		t.Helper()
		time.Sleep(3 * time.Second)
		if delivered() {
			t.Fatalf("delivered, and the line is %s", what)
		}
	}
	until("a third is on its way", func() bool { return n.wire.sent("alpha")-before > netSize/3 })
	n.wire.set(true)
	parted("silent")
	n.wire.set(false)
	until("two thirds are on their way", func() bool { return n.wire.sent("alpha")-before > 2*netSize/3 })
	name := fmt.Sprintf("e%da", os.Getpid())
	n.ip("-n", space("alpha"), "link", "set", name, "down")
	parted("down")
	n.ip("-n", space("alpha"), "link", "set", name, "up")
	until("delivered", delivered)
	if sent := n.wire.sent("alpha") - before; sent > netSize*5/2 { // begun again after each of the two it would be more than two, and what TCP repeats
		t.Errorf("%d bytes travelled for a document of %d", sent, netSize)
	} else {
		t.Logf("%d bytes travelled for a document of %d, %d packets were lost", sent, netSize, n.wire.lost)
	}

	if inbox := n.do("bravo", "inbox"); len(inbox) != 1 || inbox[0]["exchange"] != exchange {
		t.Errorf("inbox of bravo: %v", inbox)
	}
	opened := filepath.Join(t.TempDir(), "opened")
	n.do("bravo", "open", exchange, "-o", opened)
	if got, err := os.ReadFile(opened); err != nil || !bytes.Equal(got, doc) {
		t.Errorf("opened %d bytes that are others, %v", len(got), err)
	}
	until("witnessed", func() bool {
		return n.command(t.Context(), "alpha", "evidence", "export", exchange, "-o", filepath.Join(t.TempDir(), "evidence")).Run() == nil
	})
	for _, m := range []string{"alpha", "bravo"} {
		n.do(m, "audit", "verify")
	}
}
