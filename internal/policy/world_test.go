package policy

import (
	"crypto/rand"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// now is when the tests decide.
var now = time.Date(2026, 11, 23, 9, 12, 44, 0, time.UTC)

const day = 24 * time.Hour

// newHistory founds a real alliance of these members, with real keys and signatures.
func newHistory(t testing.TB, names ...string) *member.History {
	t.Helper()
	charter := statement.Charter{Alliance: "harbour", Version: 1, Created: now.Add(-day), AdoptBy: now.Add(day), Quorum: statement.QuorumMajority}
	var cards []*statement.Signed[statement.Card]
	var signers []*statement.Key
	for _, name := range names {
		var keys []*statement.Key
		for _, purpose := range []string{"/statement", "/recovery", "/log/1", "/witness"} {
			k, err := statement.GenerateKey(rand.Reader, name+purpose)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		card, err := statement.Sign(statement.Card{Member: name, Version: 1, Created: now.Add(-day), Address: name + ".example:7443",
			Statement: keys[0].Public, Recovery: keys[1].Public, Log: keys[2].Public, Witness: keys[3].Public,
			LogMLDSA: mldsaKey(t, name+"/log/1"), WitnessMLDSA: mldsaKey(t, name+"/witness"),
			CA: "-----BEGIN CERTIFICATE-----\n" + name + "\n", Sealing: []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1" + name}}}, keys...)
		if err != nil {
			t.Fatal(err)
		}
		cards, signers = append(cards, card), append(signers, keys[0])
		charter.Members = append(charter.Members, statement.CharterMember{Name: name, Standing: statement.GoodStanding,
			Statement: keys[0].Public, Recovery: keys[1].Public, Card: card.Hash})
	}
	signed, err := statement.Sign(charter, signers...)
	if err != nil {
		t.Fatal(err)
	}
	h, err := member.Found(signed, cards...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// open is house rules that permit all.
var open = func() House {
	h, err := NewHouse(map[string]string{"policy/house.cedar": permitAll + ";\n"})
	if err != nil {
		panic(err)
	}
	return h
}()

// person is somebody who may see everything, and whose training ends with the agreement of good.
func person(name string, roles ...string) *Person {
	return &Person{Name: name, Roles: roles, Labels: []string{"TLP:RED"}, TrainedUntil: now.Add(300 * day)}
}

// good is a request that every rule permits, fresh for each case to spoil.
func good(h *member.History, stage Stage) Request {
	hash := statement.HashBytes([]byte("agreement"))
	r := Request{
		Stage: stage, History: h, House: open, Self: "alpha", Now: now, AgreementHash: hash,
		Person: person("alice", Reader, Releaser),
		Manifest: statement.Manifest{
			ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", From: "alpha", To: []string{"bravo", "charlie"},
			SealedFor: make([]statement.Hash, 2), Charter: h.Alliance(), Agreement: "harbour-watch", AgreementHash: hash,
			Purpose: "incident-response", Label: "TLP:AMBER",
			Created: now, DeliverBy: now.Add(7 * day), RetainUntil: now.Add(90 * day),
			ReleasedBy: "spiffe://alpha/person/alice",
		},
		Agreement: &statement.Agreement{
			Name: "harbour-watch", Version: 3, Alliance: h.Alliance(), Parties: []string{"alpha", "bravo", "charlie"},
			Purposes: []string{"exercise", "incident-response"}, Ceiling: "TLP:AMBER", RetainDays: 90,
			NotBefore: now.Add(-30 * day), NotAfter: now.Add(300 * day),
		},
	}
	switch stage {
	case Approve:
		r.Person = person("anna", Approver)
	case Accept:
		r.Self, r.Person, r.Now = "bravo", nil, now.Add(3*time.Second)
	case Open:
		r.Self, r.Person, r.Now = "bravo", person("bob", Reader), now.Add(day)
	}
	return r
}

// sources has the texts of a request.
func sources(r Request) Sources {
	return Sources{Agreement: func(h statement.Hash) *statement.Agreement {
		if h != r.AgreementHash {
			return nil
		}
		return r.Agreement
	}, House: func(h statement.Hash) (string, bool) { return r.House.Text, h == r.House.Hash }}
}

// beyond is a little more than what is forgiven at that stage.
func beyond(stage Stage) time.Duration {
	if stage == Accept {
		return limit.ClockSkew + time.Second
	}
	return time.Second
}

// mldsaKey is some post-quantum verifier key of that name. Nothing here signs with it.
func mldsaKey(t testing.TB, name string) string {
	t.Helper()
	public := make([]byte, 1312)
	copy(public, name)
	vkey, err := statement.MLDSAKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
