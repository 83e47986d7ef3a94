//go:build torture

package crash

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ErrInjected is what a step reports that was done and shall look as if it had failed.
var ErrInjected = errors.New("injected: this step was done, and reports a failure")

// plan is what ENTENTE_CRASH asks for: STEP/PHASE/N. N counts the times that the step is reached, from 1. The phases are
//
//	before   the program ends before it
//	after    the program ends after it
//	failed   the step is done, and reports a failure
//	pause    the program stops after it, as SIGSTOP stops it, so that somebody can look at its disk
var plan = sync.OnceValue(func() (p struct {
	step, phase string
	n           int
}) {
	parts := strings.Split(os.Getenv("ENTENTE_CRASH"), "/")
	if len(parts) == 3 {
		p.step, p.phase = parts[0], parts[1]
		p.n, _ = strconv.Atoi(parts[2])
	}
	return p
})

// mistakes are those that ENTENTE_WEAKEN asks for, separated by commas.
var mistakes = sync.OnceValue(func() []string { return strings.Split(os.Getenv("ENTENTE_WEAKEN"), ",") })

var (
	mu      sync.Mutex
	reached = map[string]int{}
)

// Step does one durable step, and strikes if it is asked to. Then it says so on standard error: struck STEP/PHASE/N.
func Step(name string, do func() error) error {
	mu.Lock()
	reached[name]++
	p := plan()
	now := p.step == name && p.n == reached[name]
	mu.Unlock()
	if now && p.phase == "before" {
		die()
	}
	err := do()
	if !now || err != nil {
		return err
	}
	switch p.phase {
	case "after":
		die()
	case "pause":
		tell()
		return stop()
	}
	tell()
	return ErrInjected
}

// Weak tells whether the program is to make a mistake.
func Weak(mistake string) bool { return slices.Contains(mistakes(), mistake) }

func tell() {
	p := plan()
	fmt.Fprintf(os.Stderr, "struck %s/%s/%d\n", p.step, p.phase, p.n)
}

// die ends the program as kill -9 does.
func die() {
	tell()
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {} // until the signal arrives
}
