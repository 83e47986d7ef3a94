package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/bench"
)

// tiny are cases of the names and shapes of the real ones, as small as they can be: how fast a machine is that runs tests says nothing.
var tiny = []bench.Case{
	{Name: "1GiB", Size: 1<<20 + 1, Count: 1, Parallel: 1, Bytes: true},
	{Name: "10MiB", Size: 1 << 10, Count: 2, Parallel: 1, Bytes: true},
	{Name: "4KiB", Size: 4 << 10, Count: 2, Parallel: 1},
	{Name: "4KiBx16", Size: 4 << 10, Count: 20, Parallel: 16},
}

// benchHere runs the cases with real processes, and gives what the program prints to stdout. It looks that nothing is left behind.
func benchHere(t *testing.T, asJSON bool, cases []bench.Case) string {
	t.Helper()
	p := newProgram()
	var out bytes.Buffer
	p.wrote.w, p.stderr, p.json = &out, io.Discard, asJSON
	b := benchmark{dir: t.TempDir(), runs: 2}
	if err := p.benchCases(t.Context(), b, cases); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(b.dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
	return out.String()
}

func TestBenchJSON(t *testing.T) {
	t.Parallel()
	var names []string
	for line := range strings.Lines(benchHere(t, true, tiny)) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		number := func(key string) float64 {
			n, _ := r[key].(float64)
			if n <= 0 {
				t.Errorf("%s is %v in %s", key, r[key], line)
			}
			return n
		}
		name, _ := r["case"].(string)
		names = append(names, name)
		reference, entente, ratio := number("reference"), number("entente"), number("ratio")
		if d := ratio - entente/reference; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: the ratio is %v, and the figures say %v", name, ratio, entente/reference)
		}
		for side, median := range map[string]float64{"reference": reference, "entente": entente} {
			if least, most := number(side+"_min"), number(side+"_max"); least > median || median > most {
				t.Errorf("%s: the median of %s is %v, between %v and %v", name, side, median, least, most)
			}
		}
		want := "exchanges/s"
		if name == "1GiB" || name == "10MiB" {
			want = "bytes/s"
		}
		if r["unit"] != want || r["runs"] != 2.0 {
			t.Errorf("%s: unit %v of %v runs, want %s of 2", name, r["unit"], r["runs"], want)
		}
	}
	if want := []string{"1GiB", "10MiB", "4KiB", "4KiBx16"}; !slices.Equal(names, want) {
		t.Errorf("cases %v, want %v", names, want)
	}
}

func TestBenchTable(t *testing.T) {
	t.Parallel()
	out := benchHere(t, false, tiny[1:3])
	if !regexp.MustCompile(`^CASE +REFERENCE +ENTENTE +RATIO\n10MiB +.*MiB/s .*\n4KiB +.*/s .* \d+\.\d\d\n$`).MatchString(out) {
		t.Errorf("the table is\n%s", out)
	}
}

// The cases are promised by name.
func TestBenchCases(t *testing.T) {
	t.Parallel()
	all, err := chosen(nil)
	if err != nil || len(all) != len(tiny) {
		t.Fatalf("%d cases, %v", len(all), err)
	}
	for i, c := range all {
		if s := tiny[i]; c.Name != s.Name || c.Bytes != s.Bytes || c.Parallel != s.Parallel {
			t.Errorf("case %+v, and its small copy here is %+v", c, s)
		}
	}
	if _, err := chosen([]string{"1GB"}); err == nil {
		t.Error("a case that is not there was chosen")
	}
}

// TestBenchGrowth fills two small homes, which audit verify must find sound, and looks at the form of the answer.
func TestBenchGrowth(t *testing.T) {
	t.Parallel()
	p := newProgram()
	var out bytes.Buffer
	p.wrote.w, p.stderr, p.json = &out, io.Discard, true
	b := benchmark{dir: t.TempDir(), growth: true, exchanges: []int{100, 150}}
	if err := p.bench(t.Context(), b); err == nil {
		t.Error("it measured without a single run")
	}
	b.runs = 1
	if err := p.bench(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(b.dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
	var sizes []any
	for line := range strings.Lines(out.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sizes = append(sizes, r["exchanges"])
		for _, key := range []string{"leaves_per_second", "decisions_per_second", "exchange", "inbox", "proof", "verify"} {
			if n, _ := r[key].(float64); n <= 0 {
				t.Errorf("%s is %v in %s", key, r[key], line)
			}
		}
	}
	if !slices.Equal(sizes, []any{100.0, 150.0}) {
		t.Errorf("sizes %v, want 100 and 150", sizes)
	}
}
