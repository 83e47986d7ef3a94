// Package torture proves that nothing is lost: its tests run real nodes and kill them, fail their system calls, fill their disks, and cut
// their power, and look at what is on the disks afterwards.
//
//	make torture          thousands of runs
//	.ci/torture           the part that runs before a change is taken
//
// The tests need Linux, root, strace and loop devices, and the program built with the tag torture, in which package crash strikes where it is
// told to. What they found is a Report.
package torture

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what a run of the tests did and found.
type Report struct {
	Seed       uint64         `json:"seed"`       // repeats what was planned, though not when the machine let it happen
	Seconds    float64        `json:"seconds"`    // that it took
	Crashes    int            `json:"crashes"`    // runs in which a process was struck at a step
	Struck     map[string]int `json:"struck"`     // how often, by STEP/PHASE
	Missed     int            `json:"missed"`     // runs that ended before they came to their step
	Injected   map[string]int `json:"injected"`   // failed or killed system calls, by call and what was done to it
	Cuts       int            `json:"cuts"`       // power cuts
	CutAt      map[string]int `json:"cut_at"`     // where, by STEP, or "any moment"
	Documents  int            `json:"documents"`  // acknowledged to a person, and accounted for
	FullDisks  int            `json:"full_disks"` // disks filled up
	Weakened   map[string]int `json:"weakened"`   // mistakes that the harness made the program make: after how many tries it was noticed
	Violations []string       `json:"violations"`
}

// NewReport makes an empty one.
func NewReport(seed uint64) *Report {
	return &Report{Seed: seed, Struck: map[string]int{}, Injected: map[string]int{}, CutAt: map[string]int{}, Weakened: map[string]int{}, Violations: []string{}}
}

// Errors is how many system calls were failed or killed.
func (r *Report) Errors() (sum int) {
	for _, n := range r.Injected {
		sum += n
	}
	return sum
}

// JSON renders the report for programs.
func (r *Report) JSON() []byte {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // it is maps and numbers
	}
	return append(b, '\n')
}

// String renders the report for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %v\n", r.Seed, (time.Duration(r.Seconds * float64(time.Second))).Round(time.Second))
	fmt.Fprintf(&b, "%d crash runs (%d more ended before their step), %d injected errors, %d power cuts, %d full disks, %d documents accounted for\n",
		r.Crashes, r.Missed, r.Errors(), r.Cuts, r.FullDisks, r.Documents)
	for _, part := range []struct {
		title  string
		counts map[string]int
	}{{"struck", r.Struck}, {"injected", r.Injected}, {"power cut at", r.CutAt}, {"weakened, and noticed after so many tries", r.Weakened}} {
		if len(part.counts) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:\n", part.title)
		for _, key := range slices.Sorted(maps.Keys(part.counts)) {
			fmt.Fprintf(&b, "  %5d  %s\n", part.counts[key], key)
		}
	}
	fmt.Fprintf(&b, "%d violations\n", len(r.Violations))
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "  %s\n", v)
	}
	return b.String()
}
