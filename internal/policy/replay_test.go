package policy

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"entente.example/internal/statement"
)

// That every decision of this package's tests comes out again from its record, checked looks after. Here is what was changed.
func TestReplay(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	for _, stage := range []Stage{Release, Accept, Open, Approve} {
		r := good(h, stage)
		p, err := Replay(Decide(r).Record, sources(r))
		if err != nil || !p.Agrees() || !p.Again.Permit || p.Core != r.Manifest.Core() {
			t.Fatalf("%s: %+v, %v", stage, p, err)
		}
		if p.Request.Self != r.Self || !reflect.DeepEqual(p.Request.Person, r.Person) || !p.Request.Now.Equal(r.Now) || p.Request.AgreementHash != r.AgreementHash ||
			p.Request.Agreement.Ceiling != r.Agreement.Ceiling || !p.Request.Agreement.NotAfter.Equal(r.Agreement.NotAfter) || !p.Request.Manifest.DeliverBy.Equal(r.Manifest.DeliverBy) {
			t.Errorf("%s: the request was rebuilt as %+v", stage, p.Request)
		}
	}
	from := sources(good(h, Release))
	permitted := string(Decide(good(h, Release)).Record)
	denied := good(h, Release)
	denied.Manifest.Label = "TLP:RED"
	for name, test := range map[string]struct {
		record, old, new string
		bad              string // of the error; none if the replay must come out differently
	}{
		"denied, made to look permitted": {string(Decide(denied).Record), `"permit":false`, `"permit":true`, ""},
		"permitted by another rule":      {permitted, `["base/release","house/all"]`, `["base/open","house/all"]`, ""},
		"another label":                  {permitted, `"label":"TLP:AMBER"`, `"label":"TLP:RED"`, ""},
		"another standing":               {permitted, `["alpha","bravo","charlie"],"jurisdictions"`, `["alpha","bravo"],"jurisdictions"`, ""},
		"another time":                   {permitted, `"now":"2026`, `"now":"2036`, ""},
		"no person":                      {permitted, `"person":{"name":"alice","roles":["reader","releaser"],"labels":["TLP:RED"],"trained_until":"2027-09-19T09:12:44Z"},`, ``, ""},
		"another clearance":              {permitted, `"labels":["TLP:RED"]`, `"labels":["TLP:GREEN"]`, ""},
		"other training":                 {permitted, `"trained_until":"2027`, `"trained_until":"2025`, ""},
		"another policy":                 {permitted, `"policies":[{"set":"base","sha256":"`, `"policies":[{"set":"base","sha256":"00`, "is not a SHA-256"},
		"a key too many":                 {permitted, `{"v":1`, `{"w":1,"v":1`, "unknown field"},
		"another rendering":              {permitted, `{"v":1`, `{ "v":1`, "one rendering"},
		"another version":                {permitted, `{"v":1`, `{"v":2`, "version 2"},
		"no time":                        {permitted, `"now":"2026`, `"now":"x2026`, "is not a time"},
		"cut off":                        {permitted, `}]}`, ``, "parse record"},
	} {
		changed := strings.Replace(test.record, test.old, test.new, 1)
		if changed == test.record {
			t.Fatalf("%s: nothing changed in %s", name, changed)
		}
		p, err := Replay([]byte(changed), from)
		switch {
		case test.bad == "" && (err != nil || p.Agrees()):
			t.Errorf("%s: agrees %v, %v", name, p.Agrees(), err)
		case test.bad != "" && (err == nil || !strings.Contains(err.Error(), test.bad)):
			t.Errorf("%s: %v", name, err)
		}
	}
	another := from
	another.House = func(statement.Hash) (string, bool) { return permitAll + "; // another", true }
	if p, err := Replay([]byte(permitted), another); !errors.Is(err, ErrOtherPolicy) || !p.Recorded.Permit {
		t.Errorf("house rules of another hash: %+v, %v", p, err)
	}
	another = from
	another.Agreement = nil
	if _, err := Replay([]byte(permitted), another); !errors.Is(err, ErrOtherPolicy) {
		t.Errorf("without the agreement: %v", err)
	}
	other := bytes.Replace([]byte(permitted), []byte(`"policies":[{"set":"base"`), []byte(`"policies":[{"set":"basis"`), 1)
	if p, err := Replay(other, from); !errors.Is(err, ErrOtherPolicy) || !p.Recorded.Permit {
		t.Errorf("another policy set: %+v, %v", p, err)
	}
}

// What is finer than a second is not in the record, so it must not decide.
func TestReplayOfFractions(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	r := good(h, Release)
	r.Now = r.Agreement.NotAfter.Add(time.Second / 2)
	r.Manifest.Created, r.Manifest.DeliverBy, r.Manifest.RetainUntil = r.Now.Truncate(time.Second), r.Now.Add(day).Truncate(time.Second), r.Now.Add(2*day).Truncate(time.Second)
	if p, err := Replay(Decide(r).Record, sources(r)); err != nil || !p.Agrees() {
		t.Errorf("recorded %v, again %v, %v", p.Recorded.Rules, p.Again.Rules, err)
	}
}

func FuzzReplay(f *testing.F) {
	h := newHistory(f, "alpha", "bravo", "charlie")
	for _, stage := range []Stage{Release, Accept, Open, Approve} {
		f.Add(Decide(good(h, stage)).Record)
	}
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Replay(b, Sources{})
		if err == nil && p.Agrees() && p.Again.Permit != p.Recorded.Permit {
			t.Errorf("agrees, and differs: %s", b)
		}
	})
}
