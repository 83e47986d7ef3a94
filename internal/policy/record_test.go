package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// What a person typed reaches Decide before anything has checked it, and must neither break a line nor the record.
func TestUncheckedInput(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	nasty := []string{"a\nb", "\x1b[31mred", "\u202egpj.exe", "\xff\xfe", "\u200b", "�", strings.Repeat("é", 3000), "{label}", `"}`, "\x00"}
	for _, s := range nasty {
		r := good(h, Release)
		r.Manifest.Label, r.Manifest.Purpose, r.Manifest.Agreement = s, s, s
		r.Manifest.To = append(slices.Repeat([]string{s}, 20), "bravo")
		r.Person.Name = s
		if d := checked(t, r); d.Permit {
			t.Errorf("%q: permitted", s)
		}
	}
	r := good(h, Release)
	r.Manifest.Purpose = strings.Repeat("x", limit.Private)
	if d := checked(t, r); !slices.Equal(d.Rules, []string{"base/record-size"}) {
		t.Errorf("rules %v", d.Rules)
	}
}

// A permitted request whose facts do not fit into a record is denied.
func TestNoDecisionWithoutRecord(t *testing.T) {
	t.Parallel()
	r := good(newHistory(t, "alpha", "bravo", "charlie"), Release)
	r.Person.Roles = append(r.Person.Roles, strings.Repeat("x", limit.Private))
	if d := checked(t, r); d.Permit || !slices.Equal(d.Rules, []string{"base/record-size"}) {
		t.Errorf("permit %v, rules %v", d.Permit, d.Rules)
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	r := good(h, Open)
	r.Manifest.Content.Commitment = "hmac-sha256:content"
	d := checked(t, r)
	var rec record
	if err := json.Unmarshal(d.Record, &rec); err != nil {
		t.Fatal(err)
	}
	if rec.Version != 1 || rec.Stage != Open || rec.Self != "bravo" || rec.Person.Name != "bob" || rec.Manifest.Core != r.Manifest.Core() ||
		rec.Manifest.Label != "TLP:AMBER" || rec.Agreement.Hash != r.AgreementHash || rec.Agreement.Ceiling != "TLP:AMBER" || !rec.CharterKnown ||
		!slices.Equal(rec.GoodStanding, []string{"alpha", "bravo", "charlie"}) || !rec.Permit || !slices.Equal(rec.Rules, d.Rules) {
		t.Errorf("record %s", d.Record)
	}
	if want := []recordPolicy{{"base", statement.HashBytes([]byte(baseText))}, {"house", open.Hash}}; !slices.Equal(rec.Policies, want) {
		t.Errorf("policies %v, expected %v", rec.Policies, want)
	}
	if strings.Contains(string(d.Record), "commitment") {
		t.Error("the record speaks of content")
	}
	if again := Decide(r); string(again.Record) != string(d.Record) {
		t.Error("the same request gives another record")
	}

	// The largest request that statements allow fits.
	big := good(h, Release)
	big.Manifest.To, big.Agreement.Parties, big.Agreement.Purposes = nil, nil, nil
	for i := range limit.Members {
		name := fmt.Sprintf("m%02d", i) + strings.Repeat("x", limit.MemberName-3)
		big.Manifest.To, big.Agreement.Parties = append(big.Manifest.To, name), append(big.Agreement.Parties, name)
		big.Agreement.Purposes = append(big.Agreement.Purposes, name+name)
	}
	big.Manifest.Label, big.Manifest.DeliverBy, big.Manifest.RetainUntil = "TLP:RED", now.Add(-day), now.Add(9000*day)
	if d := checked(t, big); len(d.Reasons) < 5 || slices.Contains(d.Rules, "base/record-size") {
		t.Errorf("rules %v", d.Rules)
	}
}
