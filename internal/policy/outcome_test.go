package policy

import (
	"slices"
	"testing"
)

// Whoever released what waits is another person than whoever approves it, or only an approval is not all that it lacks.
func TestWaits(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	r := good(h, Release)
	r.Agreement.ApprovalAbove = "TLP:GREEN"
	if d := checked(t, r); !d.Waits || d.Permit {
		t.Errorf("waits %v, rules %v", d.Waits, d.Rules)
	}
	r.Manifest.Purpose = "gossip"
	if d := checked(t, r); d.Waits || len(d.Reasons) != 2 {
		t.Errorf("waits %v, rules %v", d.Waits, d.Rules)
	}
}

// A denial passes only if every reason does.
func TestTransient(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	r := good(h, Accept)
	r.Manifest.Charter[0]++
	r.Now = r.Manifest.Created.Add(-day)
	if d := checked(t, r); !d.Transient || len(d.Reasons) != 2 {
		t.Errorf("transient %v, rules %v", d.Transient, d.Rules)
	}
	r.Manifest.Label = "TLP:RED"
	if d := checked(t, r); d.Transient || len(d.Reasons) != 3 {
		t.Errorf("transient %v, rules %v", d.Transient, d.Rules)
	}
	r = good(h, Release)
	r.Stage = "export"
	if Decide(r).Transient {
		t.Error("an unknown stage passes with time")
	}
}

// What is missing altogether is denied, and nothing panics.
func TestNothingGiven(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	for name, r := range map[string]Request{
		"zero": {},
		"unknown stage": func() Request {
			r := good(h, Release)
			r.Stage = "export"
			return r
		}(),
		"only a stage": {Stage: Accept},
		"no history": func() Request {
			r := good(h, Accept)
			r.History = nil
			return r
		}(),
		"nobody releases": func() Request {
			r := good(h, Release)
			r.Person, r.Manifest.ReleasedBy = nil, ""
			return r
		}(),
		"nobody opens": func() Request {
			r := good(h, Open)
			r.Person = nil
			return r
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := checked(t, r); d.Permit {
				t.Error("permitted")
			}
		})
	}
	r := good(h, Release)
	r.Stage = "export"
	if d := Decide(r); !slices.Equal(d.Rules, []string{"base/nothing-permits"}) || d.Reasons[0].Text != "no rule permits export here" {
		t.Errorf("unknown stage: %+v", d)
	}
}
