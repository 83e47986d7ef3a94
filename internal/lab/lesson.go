package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/tools/txtar"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

//go:embed *.txtar
var scripts embed.FS

// Lesson is a script that teaches: prose in comments, commands that a person could type, and checks of what they print.
//
// The language is testscript's (github.com/rogpeppe/go-internal/testscript), with these commands besides:
//
//	entente ARGS…           run the program; `! entente …` if it must fail
//	exits N entente ARGS…   run the program; it must end with exit code N
//	until REGEXP entente ARGS…  run the program again and again until it prints that, for 20 s at most
//	start MEMBER…           start the nodes of world/MEMBER and wait until they serve
//	halt MEMBER…            end nodes properly (testscript has a stop of its own, which ends the script)
//	crash MEMBER…           end nodes as a power cut would (and a kill)
//	copy FROM TO            put a copy of a folder in the place of another, as a backup is made and brought back
//	rewrite MEMBER KIND     rewrite the log of a node that is stopped, with all its keys: the newest leaf of that kind becomes another
//	keep NAME REGEXP        keep what the first group of it matches in the last output, as $NAME
//	edit FILE OLD NEW       change the first OLD in a file to NEW
//
// The first line of a script is its title.
type Lesson struct {
	Name  string
	Title string
	Text  string // the whole script
}

// Lessons lists the lessons, sorted by name.
func Lessons() []Lesson {
	names, err := scripts.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the program
	}
	var list []Lesson
	for _, n := range names {
		b, err := scripts.ReadFile(n.Name())
		if err != nil {
			panic(err)
		}
		title, _, _ := strings.Cut(string(b), "\n")
		list = append(list, Lesson{strings.TrimSuffix(n.Name(), ".txtar"), strings.TrimPrefix(title, "# "), string(b)})
	}
	return list
}

// FindLesson finds a lesson by its name.
func FindLesson(name string) (Lesson, error) {
	var names []string
	for _, l := range Lessons() {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return Lesson{}, fault.New(fault.Misused, "the lessons are: "+strings.Join(names, ", "), "there is no lesson %.80q", name)
}

// Line is something that a lesson shows while it is played.
type Line struct {
	Kind LineKind
	Text string
}

// LineKind says what a Line is.
type LineKind int

// The kinds of lines.
const (
	Prose   LineKind = iota // what is explained
	Command                 // what is typed
	Output                  // what it printed
	Checked                 // what was found to be so
)

// Play plays a lesson with the program at that path, in a folder of its own, and shows every line as it happens. It gives
// an error if anything came out otherwise than the lesson says, or if in the end there is an exchange in its homes that cannot be proved,
// whatever was done to them.
func (l Lesson) Play(ctx context.Context, program string, show func(Line)) error {
	dir, err := os.MkdirTemp("", "entente-lab-")
	if err != nil {
		return fmt.Errorf("make a folder for the lesson: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing in it is needed
	file := filepath.Join(dir, l.Name+".txtar")
	if err := os.WriteFile(file, []byte(l.Text), 0o600); err != nil {
		return fmt.Errorf("write lesson: %w", err)
	}
	p := &player{show: show, lines: strings.Split(string(txtar.Parse([]byte(l.Text)).Comment), "\n")}
	params := script(program, p)
	params.Files, params.WorkdirRoot = []string{file}, filepath.Join(dir, "work")
	if err := os.Mkdir(params.WorkdirRoot, 0o700); err != nil {
		return fmt.Errorf("make a folder for the lesson: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		params.Deadline = deadline
	}
	p.play(func() { testscript.RunT(p, params) })
	if p.failed {
		return fault.New(fault.Failed, "the lines above say where", "lesson %s did not go as it is written", l.Name)
	}
	if rest := p.commands(); rest != "" {
		return fault.New(fault.Failed, "a lesson must not end itself", "lesson %s ended before %q", l.Name, rest)
	}
	p.advance("")
	proved, err := proveFolder(ctx, filepath.Join(params.WorkdirRoot, "script-"+l.Name, "world"))
	if err == nil && proved.Pending > 0 {
		err = fmt.Errorf("of %d exchanges the log is not signed", proved.Pending)
	}
	if err != nil {
		return fault.New(fault.Failed, "", "after lesson %s not every exchange can be proved: %w", l.Name, err)
	}
	if proved.Proved > 0 {
		p.show(Line{Checked, fmt.Sprintf("every exchange can be proved without a node: %d evidence files, for either side of each, verify", proved.Proved)})
	}
	return nil
}

// script gives the commands; watch is told what a script does while it does it.
func script(program string, watch *player) testscript.Params {
	n := &nodes{program: program, running: map[string]*exec.Cmd{}}
	command := func(name string, run func(ts *testscript.TestScript, neg bool, args []string)) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			watch.advance(name)
			run(ts, neg, args)
		}
	}
	entente := func(ts *testscript.TestScript, args []string) int {
		err := ts.Exec(program, args...)
		watch.output(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		ts.Check(err)
		return 0
	}
	return testscript.Params{
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"entente": command("entente", func(ts *testscript.TestScript, neg bool, args []string) {
				if code := entente(ts, args); (code != 0) != neg {
					ts.Fatalf("entente ended with exit code %d", code)
				}
			}),
			"exits": command("exits", func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 || args[1] != "entente" {
					ts.Fatalf("usage: exits N entente ARGS")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if code := entente(ts, args[2:]); code != want {
					ts.Fatalf("entente ended with exit code %d, expected %d", code, want)
				}
			}),
			"until": command("until", func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 || args[1] != "entente" {
					ts.Fatalf("usage: until REGEXP entente ARGS")
				}
				want, err := regexp.Compile(args[0])
				ts.Check(err)
				for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
					_ = ts.Exec(program, args[2:]...) // only what it prints counts
					out := ts.ReadFile("stdout")
					if want.MatchString(out) {
						watch.output(out)
						return
					}
					if time.Since(began) > patience {
						ts.Fatalf("entente did not print %q within %v, but:\n%s%s", args[0], patience, out, ts.ReadFile("stderr"))
					}
				}
			}),
			"start": command("start", func(ts *testscript.TestScript, _ bool, args []string) { n.start(ts, args) }),
			"halt":  command("halt", func(ts *testscript.TestScript, _ bool, args []string) { n.end(ts, args, os.Interrupt) }),
			"crash": command("crash", func(ts *testscript.TestScript, _ bool, args []string) { n.end(ts, args, os.Kill) }),
			"copy": command("copy", func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) != 2 {
					ts.Fatalf("usage: copy FROM TO")
				}
				ts.Check(CopyFolder(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
			}),
			"fill": command("fill", func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 2 {
					ts.Fatalf("usage: fill FILE MEBIBYTES")
				}
				size, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(fill(ts.MkAbs(args[0]), int64(size)<<20))
			}),
			"arrived": command("arrived", func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 2 {
					ts.Fatalf("usage: arrived MEMBER MEBIBYTES")
				}
				size, err := strconv.Atoi(args[1])
				ts.Check(err)
				for began := time.Now(); staged(ts.MkAbs(filepath.Join("world", args[0]))) < int64(size)<<20; time.Sleep(time.Millisecond) {
					if time.Since(began) > patience {
						ts.Fatalf("%s did not receive %d MiB within %v", args[0], size, patience)
					}
				}
			}),
			"keep": command("keep", func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 2 {
					ts.Fatalf("usage: keep NAME REGEXP")
				}
				want, err := regexp.Compile(args[1])
				ts.Check(err)
				found := want.FindStringSubmatch(ts.ReadFile("stdout"))
				if len(found) < 2 {
					ts.Fatalf("the last output has nothing like %q:\n%s", args[1], ts.ReadFile("stdout"))
				}
				ts.Setenv(args[0], found[1])
			}),
			"edit": command("edit", func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 3 {
					ts.Fatalf("usage: edit FILE OLD NEW")
				}
				text := ts.ReadFile(args[0])
				changed := strings.Replace(text, args[1], args[2], 1)
				if changed == text {
					ts.Fatalf("%s has no %q", args[0], args[1])
				}
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(changed), 0o600))
			}),
			"rewrite": command("rewrite", func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) != 2 {
					ts.Fatalf("usage: rewrite MEMBER KIND")
				}
				ts.Check(RewriteLog(context.Background(), ts.MkAbs(filepath.Join("world", args[0])), statement.EventKind(args[1])))
			}),
		},
	}
}

// fill makes a file of so many bytes that nobody can compress.
func fill(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	return errors.Join(err, f.Close())
}

// staged is the size of the largest document that is on its way into a home.
func staged(home string) (most int64) {
	entries, _ := os.ReadDir(filepath.Join(home, "staging")) // it is made with the first node
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			most = max(most, info.Size())
		}
	}
	return most
}

// nodes are the node processes of all scripts that run.
type nodes struct {
	program string

	mu      sync.Mutex // guards running
	running map[string]*exec.Cmd
}

// patience bounds the wait for what must come.
const patience = time.Minute

func (n *nodes) start(ts *testscript.TestScript, members []string) {
	for _, m := range members {
		home := ts.MkAbs(filepath.Join("world", m))
		log, err := os.OpenFile(home+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		ts.Check(err)
		cmd := exec.Command(n.program, "node", "--home", home)
		cmd.Stdout, cmd.Stderr = log, log
		ts.Check(cmd.Start())
		ts.Check(log.Close()) // the node has its own
		n.mu.Lock()
		n.running[home] = cmd
		n.mu.Unlock()
		ts.Defer(func() { n.end(ts, []string{m}, os.Interrupt) }) // in order, so that its log is signed in the end
		for began := time.Now(); exec.Command(n.program, "health", "--home", home).Run() != nil; time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > patience {
				ts.Fatalf("the node of %s does not serve:\n%s", m, ts.ReadFile(home+".log"))
			}
		}
	}
}

// end ends nodes; one that does not run is no error.
func (n *nodes) end(ts *testscript.TestScript, members []string, with os.Signal) {
	for _, m := range members {
		home := ts.MkAbs(filepath.Join("world", m))
		n.mu.Lock()
		cmd := n.running[home]
		delete(n.running, home)
		n.mu.Unlock()
		if cmd == nil {
			continue
		}
		if runtime.GOOS == "windows" {
			with = os.Kill // there is no other signal
		}
		_ = cmd.Process.Signal(with) // it may have ended already
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // its exit code tells nothing more
		late.Stop()
	}
}

// player shows a script while it runs, and is what testscript takes for a test.
type player struct {
	show   func(Line)
	lines  []string // of the script, as far as they were not shown
	failed bool
}

// advance shows the lines up to and with the next one that runs that command. Scripts run from top to bottom, so this is
// the line that runs now. "" shows the rest.
func (p *player) advance(command string) {
	for len(p.lines) > 0 {
		line := strings.TrimSpace(p.lines[0])
		p.lines = p.lines[1:]
		words := strings.Fields(strings.TrimPrefix(line, "! "))
		switch {
		case line == "" || line == "#":
			p.show(Line{Prose, ""})
		case strings.HasPrefix(line, "#"):
			p.show(Line{Prose, strings.TrimSpace(line[1:])})
		case slices.Contains([]string{"entente", "start", "halt", "crash", "copy", "rewrite", "keep", "edit", "fill", "arrived"}, words[0]):
			p.show(Line{Command, strings.Join(words, " ")})
		case words[0] == "exits" || words[0] == "until":
			_, args, _ := strings.Cut(line, "entente ")
			p.show(Line{Command, "entente " + args})
		default:
			p.show(Line{Checked, line})
		}
		if command != "" && strings.HasPrefix(strings.TrimPrefix(line, "! "), command) {
			return
		}
	}
}

// commands gives the first line not shown yet that runs the program, or "".
func (p *player) commands() string {
	for _, line := range p.lines {
		if words := strings.Fields(strings.TrimPrefix(line, "! ")); len(words) > 0 && slices.Contains([]string{"entente", "exits", "until"}, words[0]) {
			return line
		}
	}
	return ""
}

func (p *player) output(text string) {
	for line := range strings.Lines(text) {
		p.show(Line{Output, strings.TrimRight(line, "\n")})
	}
}

// play runs fn such that FailNow ends it.
func (p *player) play(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

// The methods of testscript.T.

// Skip counts as a failure: a lesson needs nothing that could be missing.
func (p *player) Skip(args ...any) { p.Fatal(args...) }

// Fatal fails the lesson.
func (p *player) Fatal(args ...any) {
	p.Log(args...)
	p.FailNow()
}

// Parallel does nothing: there is one lesson.
func (p *player) Parallel() {}

// Log shows what testscript has to say, which matters only when something failed.
func (p *player) Log(args ...any) {
	if text := fmt.Sprint(args...); strings.Contains(text, "FAIL") {
		p.output(text)
	}
}

// FailNow ends the lesson.
func (p *player) FailNow() {
	p.failed = true
	runtime.Goexit()
}

// Run plays a script.
func (p *player) Run(_ string, f func(testscript.T)) { p.play(func() { f(p) }) }

// Verbose is false: what happens is shown while it happens.
func (p *player) Verbose() bool { return false }
