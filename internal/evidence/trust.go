package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/checkpoint"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// trust is the alliance as the bundle's charters and cards describe it, and what follows from it for signatures.
type trust struct {
	h   *member.History
	now time.Time
	// since is the version of the charter from which on a quorum is judged: the one that the manifest names.
	since   statement.Hash
	parties []string // of the exchange
	opened  []*checkpoint.Checkpoint
}

// restore is a variable so that a test that changes every byte of a bundle need not verify the same cards each time.
var restore = member.Restore

// trust restores the alliance. The charter is compared with the hash given before anything in it is believed; then the history's
// own rules hold for amendments and cards.
func (b *Bundle) trust(now time.Time) (*trust, error) {
	founding, err := statement.HashOf(b.Founding)
	if err != nil {
		return nil, fmt.Errorf("read charter: %w", err)
	}
	if founding != b.Charter {
		return nil, errors.New("the charter in the file is not the one that it names")
	}
	charters, cards := [][]byte{b.Founding}, make([][]byte, len(b.Cards))
	charters = append(charters, b.Amendments...)
	for i, c := range b.Cards {
		cards[i] = c.Raw
	}
	h, err := restore(charters, cards)
	if err != nil {
		return nil, err
	}
	t := &trust{h: h, now: now, since: founding}
	return t, t.inPlace(b)
}

// inPlace checks that amendments and cards stand under their names and in their order, each once.
func (t *trust) inPlace(b *Bundle) error {
	amendments := t.h.Amendments()
	if len(amendments) != len(b.Amendments) {
		return errors.New("an amendment is there twice")
	}
	for i, a := range amendments {
		if !bytes.Equal(a.Raw, b.Amendments[i]) {
			return fmt.Errorf("amendments/%d is not in its place", i+1)
		}
	}
	n := 0
	for _, m := range t.h.Members() {
		for _, c := range t.h.Cards(m.Name) {
			if n >= len(b.Cards) || b.Cards[n].Member != m.Name || b.Cards[n].Version != c.Terms.Version || !bytes.Equal(b.Cards[n].Raw, c.Raw) {
				return fmt.Errorf("version %d of the card of %s is not in its place", c.Terms.Version, m.Name)
			}
			n++
		}
	}
	if n != len(b.Cards) {
		return errors.New("there is a card of nobody")
	}
	return nil
}

// versions are the versions of the charter that a node can have gone by at a time: those from t.since to the newest, but without the ones
// whose successor had been in force for so long that a node which did not know it would have stopped exchanging.
func (t *trust) versions(at time.Time) []statement.Hash {
	after := map[statement.Hash]statement.Amendment{}
	for _, a := range t.h.Amendments() {
		after[a.Hash] = a.Terms
	}
	list := []statement.Hash{t.h.Newest()}
	for v := t.h.Newest(); v != t.since; {
		a, ok := after[v]
		if !ok || at.After(a.AdoptBy.Add(limit.WitnessPatienceMost)) {
			break
		}
		v = a.Previous
		list = append(list, v)
	}
	return list
}

// quorum is how many witnesses must have co-signed a checkpoint of that time: one with up to three members in good standing, then more than
// half of the others. The charter may have changed between the manifest and the leaf, so the least of its versions counts.
func (t *trust) quorum(at time.Time) int {
	least := limit.Members
	for _, v := range t.versions(at) {
		least = min(least, t.h.QuorumAt(v))
	}
	return least
}

// counts tells whether a co-signature counts: its member was in good standing in one of the versions of that time, or is a witness that the
// charter lists, and no card calls its keys compromised. With a stolen key one could also have signed for an earlier time.
func (t *trust) counts(c checkpoint.Cosignature, at time.Time) bool {
	name, isMember := strings.CutSuffix(c.Witness, "/witness")
	if _, known := t.h.Member(name); !isMember || !known {
		return true // listed in the charter, or Open would not know it
	}
	for _, k := range t.h.Keys(name) {
		if (k.Vkey == c.Keys.Ed25519 || k.Vkey == c.Keys.MLDSA) && !k.Compromised.IsZero() {
			return false
		}
	}
	return slices.ContainsFunc(t.versions(at), func(v statement.Hash) bool { return t.h.StandingAt(v, name) == statement.GoodStanding })
}

// witnesses are the keys, old and new, of everybody who may have witnessed a member's log.
func (t *trust) witnesses(owner string) []checkpoint.Witness {
	var list []checkpoint.Witness
	for _, m := range t.h.Members() {
		if m.Name == owner {
			continue
		}
		for _, k := range t.h.Witness(m.Name) {
			list = append(list, checkpoint.Witness{Ed25519: k.Vkey, MLDSA: k.MLDSA})
		}
	}
	for _, w := range t.h.OutsideWitnesses() {
		list = append(list, checkpoint.Witness{Ed25519: w.Key, MLDSA: w.MLDSA})
	}
	return list
}

// log finds the keys of a member's log.
func (t *trust) log(origin string) (owner string, keys checkpoint.Log, err error) {
	owner, _, _ = strings.Cut(origin, "/")
	for _, l := range t.h.Logs(owner) {
		if l.Origin == origin {
			return owner, checkpoint.Log{Ed25519: l.Vkey, MLDSA: l.MLDSA}, nil
		}
	}
	return "", keys, fmt.Errorf("nobody's card lists the log %.80q", origin)
}

// proved is a leaf whose proof was checked.
type proved struct {
	owner string
	raw   []byte
	leaf  statement.Leaf
	Witnessed
}

// check is a variable for the same reason as restore.
var check = checkpoint.Proof.Check

// prove checks that a leaf stands in its log, and finds out since when a quorum knows. What it must say, concerns tells.
func (t *trust) prove(l Leaf, concerns func(owner string, leaf statement.Leaf) bool) (*proved, error) {
	where := fmt.Sprintf("leaf %d of %.80s", l.Index, l.Origin)
	fail := func(err error) (*proved, error) { return nil, fmt.Errorf("%s: %w", where, err) }
	owner, keys, err := t.log(l.Origin)
	if err != nil {
		return fail(err)
	}
	leaf, err := statement.ParseLeaf(l.Raw)
	if err != nil {
		return fail(err)
	}
	if !concerns(owner, leaf) {
		return fail(errors.New("it is about something else"))
	}
	proof, err := checkpoint.ParseProof(l.Proof)
	if err != nil {
		return fail(err)
	}
	if proof.Index != l.Index {
		return fail(fmt.Errorf("its proof is that of leaf %d", proof.Index))
	}
	c, err := check(proof, l.Raw, keys, t.witnesses(owner)...)
	if err != nil {
		return fail(err)
	}
	p := &proved{owner: owner, raw: l.Raw, leaf: leaf, Witnessed: Witnessed{Log: l.Origin, Leaf: l.Index, Kind: string(leaf.Kind), Said: leaf.Time}}
	if err := t.weigh(p, c, keys); err != nil {
		return fail(err)
	}
	return p, t.oneHistory(c)
}

// weigh finds out what the signatures of a checkpoint are worth.
func (t *trust) weigh(p *proved, c *checkpoint.Checkpoint, keys checkpoint.Log) error {
	if t.future(c.Time) {
		return fmt.Errorf("its checkpoint is from the future: the log dated it %s", c.Time.Format(time.RFC3339))
	}
	at := c.Time
	for _, co := range c.Cosigned {
		if t.future(co.Time) {
			return fmt.Errorf("its checkpoint is from the future: %s dated it %s", co.Witness, co.Time.Format(time.RFC3339))
		}
		if co.Time.After(at) {
			at = co.Time
		}
	}
	p.Needs = t.quorum(at)
	var counted []checkpoint.Cosignature
	for _, co := range c.Cosigned {
		if t.counts(co, at) {
			counted = append(counted, co)
		}
	}
	slices.SortStableFunc(counted, func(a, b checkpoint.Cosignature) int { return a.Time.Compare(b.Time) })
	p.OnlyParties, p.PQ = len(counted) > 0, len(counted) >= p.Needs && t.pinned(keys.MLDSA)
	pq := 0
	for _, co := range counted {
		name, _ := strings.CutSuffix(co.Witness, "/witness")
		party := slices.Contains(t.parties, name)
		p.By = append(p.By, Cosignature{co.Witness, co.Time, party})
		p.OnlyParties = p.OnlyParties && party
		if co.PQ && t.pinned(co.Keys.MLDSA) {
			pq++
		}
	}
	p.PQ = p.PQ && pq >= p.Needs
	p.Since = t.quorumAt(counted, p.Needs)
	return t.logKey(p, keys)
}

// quorumAt is when the last of the first quorum gave its co-signature; zero if there are too few. list is sorted by time. The words of
// parties count only where the others alone are no quorum: a party could give an earlier time than everybody else.
func (t *trust) quorumAt(list []checkpoint.Cosignature, quorum int) time.Time {
	var others []checkpoint.Cosignature
	for _, co := range list {
		if name, _ := strings.CutSuffix(co.Witness, "/witness"); !slices.Contains(t.parties, name) {
			others = append(others, co)
		}
	}
	if len(others) >= quorum {
		list = others
	}
	if len(list) < quorum {
		return time.Time{}
	}
	return list[quorum-1].Time
}

// logKey judges the keys of the log itself: those that were compromised prove only what a quorum saw before. The other party alone is
// not enough, since it may be the thief: with the log's keys and its own it could make any leaf, for any time.
func (t *trust) logKey(p *proved, keys checkpoint.Log) error {
	for _, k := range t.h.Keys(p.owner) {
		if k.Vkey != keys.Ed25519 && k.Vkey != keys.MLDSA || k.Compromised.IsZero() {
			continue
		}
		if p.Since.IsZero() || !p.Since.Before(k.Compromised) {
			return fmt.Errorf("the log's key %s is compromised since %s, and no quorum saw the leaf before", k.ID, k.Compromised.Format(time.RFC3339))
		}
		if p.OnlyParties {
			return fmt.Errorf("the log's key %s is compromised since %s, and that the leaf was there before is the word of the other party alone", k.ID, k.Compromised.Format(time.RFC3339))
		}
	}
	return nil
}

// pinned tells whether the founding charter, whose hash the verifier knows, fixes this key: on a founder's first card, or as an outside
// witness's. All other keys rest on Ed25519 signatures alone.
func (t *trust) pinned(mldsa string) bool {
	for _, m := range t.h.Charter().Terms.Members {
		if cards := t.h.Cards(m.Name); len(cards) > 0 && (cards[0].Terms.LogMLDSA == mldsa || cards[0].Terms.WitnessMLDSA == mldsa) {
			return mldsa != ""
		}
	}
	return slices.ContainsFunc(t.h.OutsideWitnesses(), func(w statement.OutsideWitness) bool { return mldsa != "" && w.MLDSA == mldsa })
}

func (t *trust) future(at time.Time) bool { return at.After(t.now.Add(limit.ClockSkew)) }

// oneHistory notices when the checkpoints of a bundle contradict each other.
func (t *trust) oneHistory(c *checkpoint.Checkpoint) error {
	for _, other := range t.opened {
		if other.Origin != c.Origin {
			continue
		}
		small, large := other, c
		if small.Tree.N > large.Tree.N {
			small, large = large, small
		}
		if small.Tree.N == large.Tree.N && small.Tree.Hash != large.Tree.Hash || small.Tree.N < large.Tree.N && small.Time.After(large.Time) {
			return fmt.Errorf("two checkpoints of %s contradict each other: the log has forked", c.Origin)
		}
	}
	t.opened = append(t.opened, c)
	return nil
}

// signedInTime judges the keys that signed a statement by when a quorum first saw a leaf that names it. A key that is on the newest
// card needs no witness. One that was replaced may have signed while it was listed or retiring, and one that was compromised
// before that, whatever times the statement itself gives.
func (t *trust) signedInTime(what string, keys []string, leaves []*proved) error {
	var seen time.Time
	for _, p := range leaves {
		if !p.Since.IsZero() && (seen.IsZero() || p.Since.Before(seen)) {
			seen = p.Since
		}
	}
	for _, id := range keys {
		owner, _, _ := strings.Cut(id, "/")
		k, ok := t.h.Key(owner, id)
		if !ok || k.Purpose != member.PurposeStatement {
			return fmt.Errorf("%s is signed with %.80q, which is no statement key of a member", what, id)
		}
		end, why := k.Compromised, "compromised since"
		if end.IsZero() && !k.Replaced.IsZero() {
			end, why = k.Replaced.Add(limit.KeyRetirement), "out of use since"
		}
		if end.IsZero() || !seen.IsZero() && seen.Before(end) {
			continue
		}
		if seen.IsZero() {
			return fmt.Errorf("%s is signed with the key %s, which is %s %s, and no quorum of witnesses saw it before", what, id, why, end.Format(time.RFC3339))
		}
		return fmt.Errorf("%s is signed with the key %s, which is %s %s, and witnesses first saw it at %s", what, id, why, end.Format(time.RFC3339), seen.Format(time.RFC3339))
	}
	return nil
}
