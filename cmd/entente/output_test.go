package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"

	"entente.example/internal/limit"
	"entente.example/internal/node"
)

// TestPlainHidesNothing feeds what a peer could choose, and wants nothing left that a terminal acts upon.
func TestPlainHidesNothing(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"report.pdf":                      "report.pdf",
		"Bericht für Bürgermeister 北.pdf": "Bericht für Bürgermeister 北.pdf",
		"a\x1b[31mred":                    `a\x1b[31mred`,
		"a\nb\r\tc":                       `a\nb\r\tc`,
		"invoice\u202efdp.exe":            `invoice\u202efdp.exe`,
		"zero\u200bwidth":                 `zero\u200bwidth`,
		"\u009b31m":                       `\u009b31m`,
		"bad\xffutf8":                     `bad\xffutf8`,
		"\u00a0":                          `\u00a0`,
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestJSONHidesNothing wants JSON that a terminal may show, and that still says the same.
func TestJSONHidesNothing(t *testing.T) {
	t.Parallel()
	in := "a\x1b[31m\u202e\u009b\x7f\U000e0001 <b>&ü"
	b, err := encode(map[string]string{"s": in})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(strings.TrimSuffix(string(b), "\n"), hidden) {
		t.Errorf("JSON holds what a terminal would act upon: %q", b)
	}
	var out map[string]string
	if err := json.Unmarshal(b, &out); err != nil || out["s"] != in {
		t.Errorf("it says %q, want %q (%v)", out["s"], in, err)
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{"90d": 90 * day, "2w": 14 * day, "12h": 12 * time.Hour, "30m": 30 * time.Minute, "36525d": 36525 * day} {
		if got, err := parseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "d", "90", "soon", "-1d", "1.5d", "90 d", "0d", "1y", "36526d", "99999999999999999999d", "+1d", "1D"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("%q was taken for %v", in, got)
		}
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Date(2026, 11, 23, 9, 12, 44, 5, time.UTC) }
	for _, c := range []struct {
		in   string
		end  bool
		want string
	}{
		{"2027-01-31", false, "2027-01-31T00:00:00Z"},
		{"2027-01-31", true, "2027-01-31T23:59:59Z"},
		{"today", false, "2026-11-23T00:00:00Z"},
		{"2027-01-31T12:00:00+01:00", true, "2027-01-31T11:00:00Z"},
	} {
		m := moment{now: now, end: c.end}
		if err := m.Set(c.in); err != nil || m.t.Format(time.RFC3339) != c.want {
			t.Errorf("%s: %v, %v, want %s", c.in, m.t, err, c.want)
		}
	}
	for _, in := range []string{"", "tomorrow", "2027-02-30", "31.1.2027", "2027-01-31 12:00"} {
		if err := (&moment{now: now}).Set(in); err == nil {
			t.Errorf("%q was taken for a time", in)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for in, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 KiB", 1536: "1.5 KiB", 123 << 10: "123 KiB", 1 << 30: "1.0 GiB", 64 << 30: "64.0 GiB", 2 << 40: "2.0 TiB"} {
		if got := size(in); got != want {
			t.Errorf("size(%d) = %s, want %s", in, got, want)
		}
	}
}

// TestLabelsKeepTheirColour wants a label in the colour of its name where there are only sixteen.
func TestLabelsKeepTheirColour(t *testing.T) {
	t.Parallel()
	for profile, want := range map[colorprofile.Profile]map[string]string{
		colorprofile.ANSI:      {"TLP:CLEAR": "97", "TLP:GREEN": "92", "TLP:AMBER": "93", "TLP:AMBER+STRICT": "93", "TLP:RED": "91"},
		colorprofile.ANSI256:   {"TLP:AMBER": "38;5;214"},
		colorprofile.TrueColor: {"TLP:AMBER": "38;2;255;192;0", "TLP:RED": "38;2;255;43;43"},
		colorprofile.Ascii:     {"TLP:AMBER": ""},
	} {
		for name, colour := range want {
			var b strings.Builder
			p := &program{stdout: &colorprofile.Writer{Forward: &b, Profile: profile}, profile: profile}
			p.printf("%s", p.label(name))
			if got := b.String(); !strings.Contains(got, name) || !strings.Contains(got, colour) || colour == "" && strings.Contains(got, "3") {
				t.Errorf("%v: %s is printed as %q, want %q", profile, name, got, colour)
			}
		}
	}
}

// TestHintsKeepTheHome wants commands in hints that work where the person is.
func TestHintsKeepTheHome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		home, in, want string
		worlds         bool
	}{
		{"a", "entente inbox and entente outbox list what there is", "entente --home a inbox and entente --home a outbox list what there is", false},
		{"my home", "run: entente node", `run: entente --home "my home" node`, false},
		{"", "run: entente node", "run: entente node", false},
		{"a", "see: entente send --help", "see: entente send --help", false},
		{"a", "use it: entente health --home a", "use it: entente health --home a", false},
		{"a", "correct entente.toml; compare: entente version", "correct entente.toml; compare: entente version", false},
		{"a", "such as: entente found alpha bravo, entente node", "such as: entente found alpha bravo, entente node", true},
	} {
		p := &program{home: c.home, worlds: c.worlds}
		if got := p.hint(c.in); got != c.want {
			t.Errorf("with --home %q, %q became %q, want %q", c.home, c.in, got, c.want)
		}
	}
}

// TestCertificateThatEndsSoon wants a warning once, in time, and none to programs.
func TestCertificateThatEndsSoon(t *testing.T) {
	t.Parallel()
	now := time.Now()
	dir := filepath.Join(t.TempDir(), "alpha")
	if _, err := node.Init(t.Context(), dir, node.InitOptions{Member: "alpha", Address: "127.0.0.1:7443", Now: now}); err != nil {
		t.Fatal(err)
	}
	h, err := node.OpenHome(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.AddPerson(t.Context(), now, node.Persona{Name: "alice", Roles: []string{"reader"}}.Person(now)); err != nil {
		t.Fatal(err)
	}
	people, err := h.People()
	if err != nil {
		t.Fatal(err)
	}
	end := people[0].CertificateEnds
	for _, c := range []struct {
		at   time.Time
		json bool
		want int
	}{{now, false, 0}, {end.Add(-limit.CertificateWarning - time.Minute), false, 0}, {end.Add(-10 * day), false, 1}, {end.Add(-10 * day), true, 0}, {end.Add(day), false, 0}} {
		var b strings.Builder
		p := &program{stderr: &b, json: c.json, now: func() time.Time { return c.at }}
		p.warnPerson(dir, "alpha", "alice")
		p.warnPerson(dir, "alpha", "alice")
		if got := strings.Count(b.String(), "The certificate of alice ends at "+when(end)); got != c.want {
			t.Errorf("at %v: %d warnings, want %d: %s", c.at, got, c.want, b.String())
		}
	}
}
