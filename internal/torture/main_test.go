//go:build torture && linux

package torture_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"entente.example/internal/torture"
)

// What the environment asks for; see "make torture".
//
//	ENTENTE_TORTURE_CRASHES   runs in which a process is struck at a step (110)
//	ENTENTE_TORTURE_ERRORS    system calls that are failed or killed (60)
//	ENTENTE_TORTURE_CUTS      power cuts (24)
//	ENTENTE_TORTURE_WORLDS    alliances that are tortured at the same time (3)
//	ENTENTE_TORTURE_SEED      repeats what was planned (default: another one each time)
//	ENTENTE_TORTURE_DIR       where reports, logs, and the homes of runs that failed are kept (default: a new folder in the system's temporary one)
var (
	crashes = number("CRASHES", 110)
	faults  = number("ERRORS", 60)
	cuts    = number("CUTS", 24)
	worlds  = number("WORLDS", 3)
	seed    = uint64(number("SEED", int(rand.Uint32())))

	results string // folder
	program string // built with the tag torture
	report  *findings
)

func number(name string, otherwise int) int {
	s := os.Getenv("ENTENTE_TORTURE_" + name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		fmt.Fprintf(os.Stderr, "ENTENTE_TORTURE_%s: %q is not a number\n", name, s)
		os.Exit(2)
	}
	return n
}

// findings is the report while it grows.
type findings struct {
	mu sync.Mutex
	torture.Report
}

func (f *findings) change(do func(*torture.Report)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.Report)
}

func (f *findings) violation(text string) {
	f.change(func(r *torture.Report) { r.Violations = append(r.Violations, text) })
}

func (f *findings) document() { f.change(func(r *torture.Report) { r.Documents++ }) }

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	report = &findings{Report: *torture.NewReport(seed)}
	var err error
	if results = os.Getenv("ENTENTE_TORTURE_DIR"); results == "" {
		results, err = os.MkdirTemp("", "torture-")
	} else if err = os.MkdirAll(results, 0o700); err == nil {
		results, err = filepath.Abs(results)
	}
	if err == nil {
		program = filepath.Join(results, "entente")
		var out []byte
		if out, err = exec.Command("go", "build", "-tags", "torture", "-o", program, "entente.example/cmd/entente").CombinedOutput(); err != nil {
			err = fmt.Errorf("build the program: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("SEED=%d, results in %s\n", seed, results)
	began := time.Now()
	code := m.Run()
	report.change(func(r *torture.Report) {
		r.Seconds = time.Since(began).Seconds()
		fmt.Print(r)
		err = os.WriteFile(filepath.Join(results, "report.json"), r.JSON(), 0o600)
		if len(r.Violations) > 0 {
			code = max(code, 1)
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// share gives the part of n that the i-th of several worlds does.
func share(n, i int) int { return n*(i+1)/worlds - n*i/worlds }
