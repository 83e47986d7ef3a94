package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// DamagedFile is the file of a home that lists what the check in the background found damaged. It stands beside the database, because that may be
// what is damaged. It is bookkeeping: without it, the next check finds the same.
const DamagedFile = "damaged"

// Damaged is one thing that is not as it must be. A document with a Manifest is neither opened nor sent until it is well again.
type Damaged struct {
	Manifest string    `json:"manifest,omitempty"` // hash in hex; empty if it is about no document
	Where    string    `json:"where"`
	What     string    `json:"what"`
	Found    time.Time `json:"found"`
}

// Damage is what the check in the background has found so far.
type Damage struct {
	Checked time.Time // when it last went through everything; zero if it has not yet
	List    []Damaged // sorted by place
}

// Damage reads what the node's check has found. A home that was never checked has none.
func (h *Home) Damage() (Damage, error) {
	raw, err := readBounded(filepath.Join(h.Dir, DamagedFile), limit.DamagedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Damage{}, nil
	}
	if err != nil {
		return Damage{}, fmt.Errorf("read what is damaged: %w", err)
	}
	return parseDamage(raw)
}

func parseDamage(raw []byte) (d Damage, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	head := struct {
		Checked time.Time `json:"checked"`
	}{}
	if err := dec.Decode(&head); err != nil {
		return d, fmt.Errorf("read what is damaged: %w", err)
	}
	d.Checked = head.Checked
	for {
		var one Damaged
		if err := dec.Decode(&one); errors.Is(err, io.EOF) {
			return d, nil
		} else if err != nil || len(d.List) == limit.Damaged {
			return d, fmt.Errorf("read what is damaged: entry %d cannot be read, or is one too many: %w", len(d.List), err)
		}
		d.List = append(d.List, one)
	}
}

// damages is what is kept apart. The zero value is ready; load reads what an earlier run has found.
type damages struct {
	mu      sync.Mutex
	path    string
	checked time.Time
	places  map[string]Damaged // by Where
}

// load takes over what the file says. One that cannot be read keeps nothing apart until the check comes by again.
func (d *damages) load(h *Home) error {
	found, err := h.Damage()
	d.path, d.checked, d.places = filepath.Join(h.Dir, DamagedFile), found.Checked, map[string]Damaged{}
	for _, one := range found.List {
		d.places[one.Where] = one
	}
	return err
}

// of tells what is wrong with a document; empty if nothing is known to be.
func (d *damages) of(manifest statement.Hash) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.places) == 0 {
		return ""
	}
	for _, one := range d.places {
		if one.Manifest == manifest.String() {
			return one.Where + ": " + one.What
		}
	}
	return ""
}

// count tells how much is kept apart, and when everything was last checked.
func (d *damages) count() (int64, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(len(d.places)), d.checked
}

// manifests gives the documents that are kept apart.
func (d *damages) manifests() (list []statement.Hash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[string]bool{}
	for _, one := range d.places {
		if h, err := statement.ParseHash(one.Manifest); err == nil && !seen[one.Manifest] {
			seen[one.Manifest] = true
			list = append(list, h)
		}
	}
	return list
}

// add keeps something apart, and tells whether that is new.
func (d *damages) add(found audit.Damage, now time.Time) (isNew bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.places[found.Where]; known || len(d.places) == limit.Damaged {
		return false, nil
	}
	one := Damaged{Where: found.Where, What: strings.ToValidUTF8(found.What[:min(len(found.What), limit.Line)], ""), Found: now.UTC().Truncate(time.Second)}
	if !found.Manifest.IsZero() {
		one.Manifest = found.Manifest.String()
	}
	d.places[found.Where] = one
	return true, d.write()
}

// settle ends a check: of what it looked at, only what it found again stays. It gives the places that are well again. A time means that it went through
// everything.
func (d *damages) settle(looked func(Damaged) bool, again map[string]bool, whole time.Time) (well []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for where, one := range d.places {
		if looked(one) && !again[where] {
			well = append(well, where)
			delete(d.places, where)
		}
	}
	if !whole.IsZero() {
		d.checked = whole.UTC().Truncate(time.Second)
	}
	if len(well) == 0 && whole.IsZero() {
		return nil, nil
	}
	slices.Sort(well)
	return well, d.write()
}

// write makes the file durable. The caller holds the lock.
func (d *damages) write() error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	err := e.Encode(struct {
		Checked time.Time `json:"checked"`
	}{d.checked})
	for _, where := range slices.Sorted(maps.Keys(d.places)) {
		err = errors.Join(err, e.Encode(d.places[where]))
	}
	if err != nil {
		return fmt.Errorf("note what is damaged: %w", err)
	}
	return durable.Replace(d.path, b.Bytes())
}

// sound refuses a document that is kept apart.
func (n *node) sound(manifest statement.Hash, name string) error {
	if what := n.damage.of(manifest); what != "" {
		return fault.New(fault.Failed, "entente audit damage lists it; bring the file back from a backup, or have it sent again", "%s is damaged on this node and kept apart: %s", name, what)
	}
	return nil
}

// check goes through the whole home again and again, gently, until ctx ends; see audit.Check. What it finds is kept apart at once, and given back
// when it is well again.
func (n *node) check(ctx context.Context) error {
	for pause := limit.CheckFirst; ctx.Err() == nil; pause = limit.CheckPause {
		if n.recheck(ctx, pause); ctx.Err() == nil {
			n.checkAll(ctx)
		}
	}
	return nil
}

// recheck looks from time to time at what is kept apart, for as long as the check rests.
func (n *node) recheck(ctx context.Context, pause time.Duration) {
	end := time.NewTimer(pause)
	defer end.Stop()
	tick := time.NewTicker(limit.CheckAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-tick.C:
		}
		list := n.damage.manifests()
		if len(list) == 0 {
			continue
		}
		looked := map[string]bool{}
		for _, m := range list {
			looked[m.String()] = true
		}
		again := map[string]bool{}
		c, err := n.checkOf(again)
		if err == nil {
			err = c.Documents(ctx, list)
		}
		n.settleCheck(ctx, err, func(d Damaged) bool { return looked[d.Manifest] }, again, time.Time{})
	}
}

func (n *node) checkAll(ctx context.Context) {
	again := map[string]bool{}
	c, err := n.checkOf(again)
	if err == nil {
		err = c.Everything(ctx)
	}
	n.settleCheck(ctx, err, func(Damaged) bool { return true }, again, n.now())
	if err == nil {
		n.metrics.RoundEnded()
	}
}

func (n *node) settleCheck(ctx context.Context, err error, looked func(Damaged) bool, again map[string]bool, whole time.Time) {
	if ctx.Err() != nil {
		return
	}
	var well []string
	if err == nil {
		well, err = n.damage.settle(looked, again, whole)
	}
	if err != nil {
		n.log.Error("cannot check the home", "error", err)
	}
	for _, where := range well {
		n.log.Info("what was damaged is well again", "where", where)
	}
	if len(well) > 0 {
		n.nudge()
	}
}

// checkOf prepares a check of this home, which notes in again where it found something.
func (n *node) checkOf(again map[string]bool) (audit.Check, error) {
	card, err := n.Card()
	if err != nil {
		return audit.Check{}, err
	}
	return audit.Check{
		Verification: audit.Verification{DB: n.DB, Blobs: n.Blobs, HeadDir: filepath.Join(n.Dir, headDir), Keys: checkpoint.Log{Ed25519: card.Terms.Log, MLDSA: card.Terms.LogMLDSA}, Now: n.now()},
		Found: func(d audit.Damage) {
			again[d.Where] = true
			isNew, err := n.damage.add(d, n.now())
			if isNew {
				n.log.Error("damaged", "where", d.Where, "see", "entente audit damage") // what is wrong may name a person
			}
			if err != nil {
				n.log.Error("cannot note what is damaged", "error", err)
			}
		},
		Busy:  n.busy.any,
		Rows:  func(rows int) { n.metrics.Checked(int64(rows), 0) },
		Bytes: func(bytes int) { n.metrics.Checked(0, int64(bytes)) },
	}, nil
}
