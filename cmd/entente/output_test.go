package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
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
