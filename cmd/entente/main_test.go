package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"entente": main})
}

// TestScripts runs the program as people and scripts do: every `entente` in testdata/script is a process of its own, with
// real files, ports and TLS.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: scriptCommands(), Setup: setup, Condition: condition, RequireExplicitExec: true})
}

// setup gives a script a person's surroundings: a HOME of its own and no homes from outside.
func setup(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, "home")
	e.Setenv("HOME", home)
	e.Setenv("ENTENTE_HOME", "")
	e.Setenv("TERM", "xterm")
	return os.MkdirAll(home, 0o700)
}

func condition(name string) (bool, error) {
	if name == "root" { // may read everything, whatever the mode says
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %s", name)
}

func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exits": scriptExits, "until": scriptUntil, "ports": scriptPorts, "found-ports": scriptFoundPorts, "world": scriptWorld, "agree": scriptAgree, "corrupt": scriptCorrupt,
		"sparse": scriptSparse, "capture": scriptCapture, "mail": scriptMail, "occupied": scriptOccupied, "write": scriptWrite,
		"thin-line": scriptThinLine,
	}
}

// exits CODE COMMAND… runs a command that must end with exactly this code. Its arguments may hold escapes as Go has them.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	for i, a := range args {
		if text, err := strconv.Unquote(`"` + a + `"`); err == nil {
			args[i] = text
		}
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("it ended with %d, expected %s", code, args[0])
	}
}

// until REGEXP COMMAND… runs a command again and again until its stdout matches.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...) // what it says counts
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it never printed %s", args[0])
		}
	}
}

var taken = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// freePorts finds ports that nobody uses and that no other script was given: the first, and the others at these distances. They
// lie below those that systems give to outgoing connections.
func freePorts(ts *testscript.TestScript, distances ...int) int {
	taken.Lock()
	defer taken.Unlock()
search:
	for range 1000 {
		first := 10000 + rand.IntN(20000)
		for _, d := range distances {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first+d))
			if err != nil || taken.ports[first+d] {
				continue search
			}
			ts.Check(l.Close())
		}
		for _, d := range distances {
			taken.ports[first+d] = true
		}
		return first
	}
	ts.Fatalf("no free ports")
	return 0
}

// ports NAME… sets $NAME_peer and $NAME_node to free loopback addresses.
func scriptPorts(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		port := freePorts(ts, 0, 1)
		ts.Setenv(name+"_peer", address("127.0.0.1", port))
		ts.Setenv(name+"_node", address("127.0.0.1", port+1))
	}
}

// found-ports VARIABLE sets a variable to a port from which `found` can give out the ports of two members.
func scriptFoundPorts(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strconv.Itoa(freePorts(ts, 0, 1, 10, 11)))
}

// world NAME… founds an alliance with homes $WORK/NAME, a person in each (releaser and reader), and an agreement
// harbour-watch between the first two: incident-response up to TLP:AMBER, 90 days.
func scriptWorld(ts *testscript.TestScript, _ bool, args []string) {
	var distances []int
	for i := range args {
		distances = append(distances, 10*i, 10*i+1)
	}
	entente := func(args ...string) { ts.Check(ts.Exec("entente", args...)) }
	dir := ts.MkAbs("w")
	entente(append([]string{"found", "--home", dir, "--port", strconv.Itoa(freePorts(ts, distances...))}, args...)...)
	for _, name := range args {
		ts.Check(os.Rename(filepath.Join(dir, name), ts.MkAbs(name)))
		entente("person", "add", "person-"+name, "--role", "releaser,reader", "--label", "TLP:RED", "--trained-until", "2099-12-31", "--home", name)
	}
	scriptAgree(ts, false, []string{"harbour-watch", args[0] + "," + args[1], "incident-response", "TLP:AMBER", time.Now().UTC().Format(time.DateOnly), "2090-12-31"})
}

// agree NAME PARTIES PURPOSE CEILING FROM UNTIL [MEMBER] has the parties agree by file, whether their nodes run or not: 14 days, or 90 for
// harbour-watch. With MEMBER, only that one brings it into force.
func scriptAgree(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	from, err := time.Parse(time.DateOnly, args[4])
	ts.Check(err)
	until, err := time.Parse(time.DateOnly, args[5])
	ts.Check(err)
	a := statement.Agreement{Name: args[0], Version: 1, Parties: strings.Split(args[1], ","), Purposes: []string{args[2]}, Ceiling: args[3], RetainDays: 14,
		NotBefore: from, NotAfter: until.AddDate(0, 0, 1).Add(-time.Second)}
	if a.Name == "harbour-watch" {
		a.RetainDays = 90
	}
	homes := map[string]*node.Home{}
	for _, p := range a.Parties {
		homes[p], err = node.OpenHome(ctx, ts.MkAbs(p))
		ts.Check(err)
		defer func() { ts.Check(homes[p].Close()) }()
	}
	file, err := homes[a.Parties[0]].DraftAgreement(ctx, a)
	ts.Check(err)
	for _, p := range a.Parties {
		file, err = homes[p].SignAgreement(ctx, file)
		ts.Check(err)
	}
	for _, p := range a.Parties {
		if len(args) < 7 || args[6] == p {
			_, err := homes[p].AdoptAgreement(ctx, time.Now(), file)
			ts.Check(err)
		}
	}
}

// corrupt FILE [OFFSET] flips a bit of a byte of a file, the middle one unless said otherwise; below 0 it counts from the end.
func scriptCorrupt(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at := len(b) / 2
	if len(args) > 1 {
		at, err = strconv.Atoi(args[1])
		ts.Check(err)
		at = (at + len(b)) % len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

// sparse FILE SIZE makes a file of that many bytes that takes no room.
func scriptSparse(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), nil, 0o600))
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// capture VARIABLE REGEXP sets a variable to the first group of what the last command printed.
func scriptCapture(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("stdout does not match %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// mail FROM copies what lies in one member's folder to the others', as e-mail would.
func scriptMail(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.*"))
	ts.Check(err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		ts.Check(err)
		for _, to := range args[1:] {
			ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(to), filepath.Base(file)), b, 0o600))
		}
	}
}

// occupied HOME listens on the peer port of a home until the script ends.
func scriptOccupied(ts *testscript.TestScript, _ bool, args []string) {
	config, err := node.ReadConfig(ts.MkAbs(args[0]))
	ts.Check(err)
	l, err := net.Listen("tcp", config.PeerListen)
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

// thin-line HOME BYTES [open] has the people of HOME reach its running node over a line that breaks once it has carried so many bytes to them, and
// is not mended. One that stays open carries nothing more, and does not say so. It changes entente.toml, which only they read meanwhile.
func scriptThinLine(ts *testscript.TestScript, _ bool, args []string) {
	config, err := node.ReadConfig(ts.MkAbs(args[0]))
	ts.Check(err)
	most, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	path := filepath.Join(ts.MkAbs(args[0]), node.ConfigFile)
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(b, []byte(config.NodeListen), []byte(l.Addr().String())), 0o600))
	go func() {
		defer l.Close()
		near, err := l.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := net.Dial("tcp", config.NodeListen)
		if err != nil {
			return
		}
		defer far.Close()
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = io.Copy(far, near) }()
		_, _ = io.CopyN(near, far, most)
		if len(args) > 2 {
			<-ended
		}
	}()
}

// write NAME TEXT makes a file; both may hold escapes as Go has them, which a script cannot.
func scriptWrite(ts *testscript.TestScript, _ bool, args []string) {
	for i, a := range args {
		text, err := strconv.Unquote(`"` + a + `"`)
		ts.Check(err)
		args[i] = text
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o600))
}
