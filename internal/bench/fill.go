package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/policy"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// A home that received many documents would take days to fill by exchanging them. So its rows are made here, by the steps of a node that
// receives, and out of the real parts: manifests signed by their sender, decisions by the policies, leaves, receipts. `audit verify`
// finds nothing to say about it. It takes two shortcuts that a node must not: many documents share one transaction, and all have the same
// ciphertext, which was sealed once.

// past is how long ago the alliance was founded, so that a million documents a second apart fit behind that.
const past = 14 * 24 * time.Hour

// batch is how many documents share one transaction.
const batch = 1000

// filling is the recipient's home while it is filled.
type filling struct {
	home      *node.Home
	from      *statement.Key // the sender's statement key
	begin     time.Time      // of the first document
	first     int64          // the leaf of the first document
	history   *member.History
	agreement store.Agreement
	terms     statement.Agreement
	house     policy.House
	header    []byte
	payload   []byte
	content   statement.Content
	sealedFor statement.Hash
}

// received is a document that is to be received.
type received struct {
	manifest *statement.Signed[statement.Manifest]
	event    statement.Event
	receipt  *statement.Signed[statement.Receipt] // for the leaf that the event will be; nil: signed when that is known
}

// openFilling opens both homes of an alliance in dir, and seals the one document.
func openFilling(ctx context.Context, dir string) (_ *filling, err error) {
	alpha, err := node.OpenHome(ctx, filepath.Join(dir, from))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, alpha.Close()) }()
	bravo, err := node.OpenHome(ctx, filepath.Join(dir, to))
	if err != nil {
		return nil, err
	}
	f := &filling{home: bravo, from: alpha.Keys.Statement, begin: time.Now().Add(-past).Add(time.Hour).UTC().Truncate(time.Second)}
	defer func() {
		if err != nil {
			err = errors.Join(err, bravo.Close())
		}
	}()
	if f.history, err = bravo.History(ctx); err != nil {
		return nil, err
	}
	if f.house, err = node.ReadHouse(filepath.Join(bravo.Dir, node.HouseDir)); err != nil {
		return nil, err
	}
	err = bravo.DB.View(ctx, func(v *store.View) error {
		list, err := v.Agreements()
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("there are %d agreements instead of one", len(list))
		}
		if err != nil {
			return err
		}
		f.agreement = list[0]
		f.first, err = v.Size()
		return err
	})
	if err != nil {
		return nil, err
	}
	signed, err := statement.Open[statement.Agreement](f.agreement.Raw, f.history.Verifiers())
	if err != nil {
		return nil, err
	}
	f.terms = signed.Terms
	return f, f.sealOne()
}

// sealOne seals the document that all others share their ciphertext with.
func (f *filling) sealOne() error {
	me, _ := f.history.Member(to)
	key := me.Sealing[0].Recipient
	hash, err := seal.RecipientHash(key)
	if err != nil {
		return err
	}
	f.sealedFor = hash
	var out bytes.Buffer
	sealed, err := seal.Seal(&out, []string{key}, seal.Inner{Core: f.manifest(0).Core(), Name: "document", MediaType: "application/octet-stream"}, bytes.NewReader(make([]byte, 4<<10)))
	if err != nil {
		return err
	}
	f.header, f.payload, f.content = sealed.Header, out.Bytes(), sealed.Content
	return nil
}

// manifest is what the sender says about its document of that number.
func (f *filling) manifest(n int) statement.Manifest {
	created := f.begin.Add(time.Duration(n) * time.Second)
	var entropy [10]byte
	for i := range entropy {
		entropy[i] = byte(rand.Uint32()) //nolint:gosec // a name, not a secret
	}
	id := ulid.ULID{}
	_ = id.SetTime(ulid.Timestamp(created)) // fails after the year 10889
	_ = id.SetEntropy(entropy[:])           // fails if they are not ten bytes
	return statement.Manifest{ID: id.String(), From: from, To: []string{to}, Charter: f.history.Newest(), Agreement: f.terms.Name, AgreementHash: f.agreement.Hash,
		Purpose: "exercise", Label: "TLP:CLEAR", Created: created, DeliverBy: created.Add(7 * 24 * time.Hour), RetainUntil: created.AddDate(0, 0, int(f.terms.RetainDays)).Truncate(24 * time.Hour),
		ReleasedBy: "spiffe://" + from + "/person/" + sender, SealedFor: []statement.Hash{f.sealedFor}, Content: f.content}
}

// request is what the recipient's node asks its policies about a manifest that has just come.
func (f *filling) request(m statement.Manifest) policy.Request {
	begun := f.terms.NotBefore
	if f.agreement.At.After(begun) {
		begun = f.agreement.At
	}
	return policy.Request{Stage: policy.Accept, Manifest: m, Agreement: &f.terms, AgreementHash: f.agreement.Hash, Newest: f.terms.Version, Begun: begun,
		House: f.house, Store: f.home.Config.Store(), History: f.history, Self: to, Now: m.Created}
}

// receive makes the document of that number, as it is received; with its receipt if its leaf will follow upon those before it.
func (f *filling) receive(n int, inOrder bool) (received, error) {
	signed, err := statement.Sign(f.manifest(n), f.from)
	if err != nil {
		return received{}, err
	}
	m := signed.Terms
	d := policy.Decide(f.request(m))
	if !d.Permit {
		return received{}, fmt.Errorf("it was not permitted: %v", d.Reasons)
	}
	rules, _ := d.Outward(to)
	r := received{manifest: signed, event: statement.Event{Kind: statement.EventReceived, Time: m.Created, ID: m.ID, Manifest: signed.Hash, Peers: []string{from},
		Stage: string(policy.Accept), Rules: rules, Private: []statement.Private{{Field: "decision", Value: d.Record}}}}
	if house := d.House(); house != nil {
		r.event.Private = append(r.event.Private, statement.Private{Field: "house", Value: house})
	}
	if inOrder {
		r.receipt, err = f.receipt(r, f.first+int64(n))
	}
	if err != nil {
		return r, err
	}
	return r, nil
}

func (f *filling) receipt(r received, leaf int64) (*statement.Signed[statement.Receipt], error) {
	m := r.manifest.Terms
	return statement.Sign(statement.Receipt{Kind: statement.Stored, From: to, To: from, Manifest: r.manifest.Hash, ID: m.ID,
		At: m.Created, Log: f.home.Keys.Log.Name(), Leaf: leaf}, f.home.Keys.Statement)
}

// put is the fact that a node writes down when it has received a document.
func (f *filling) put(tx *store.Tx, r received) error {
	if err := tx.PutManifest(r.manifest, f.header, nil, f.payload); err != nil {
		return err
	}
	if err := tx.PutExchange(r.manifest.Hash, to, store.Stored, r.event.Time); err != nil {
		return err
	}
	leaf, err := tx.Record(r.event)
	if err != nil {
		return err
	}
	if r.receipt == nil {
		r.receipt, err = f.receipt(r, leaf)
	} else if r.receipt.Terms.Leaf != leaf {
		err = fmt.Errorf("leaf %d became leaf %d", r.receipt.Terms.Leaf, leaf)
	}
	if err != nil {
		return err
	}
	return tx.PutReceipt(r.receipt)
}

// many makes the documents of these numbers, on all processors.
func (f *filling) many(begin, end int, inOrder bool) ([]received, error) {
	list, errs := make([]received, end-begin), make([]error, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for w := range errs {
		group.Go(func() {
			for i := w; i < len(list) && errs[w] == nil; i += len(errs) {
				list[i], errs[w] = f.receive(begin+i, inOrder)
			}
		})
	}
	group.Wait()
	return list, errors.Join(errs...)
}

// fill puts so many documents into the home. The next ones are made while those before are written.
func (f *filling) fill(ctx context.Context, count int, progress func(done int)) error {
	if err := f.home.DB.Update(ctx, func(tx *store.Tx) error { return tx.PutHouse(f.house.Hash, f.house.Text) }); err != nil {
		return err
	}
	type made struct {
		list []received
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan made)
	go func() {
		defer close(ready)
		for begin := 0; begin < count; begin += batch {
			list, err := f.many(begin, min(begin+batch, count), true)
			select {
			case ready <- made{list, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	done := 0
	for m := range ready {
		if m.err != nil {
			return m.err
		}
		err := f.home.DB.Update(ctx, func(tx *store.Tx) error {
			for _, r := range m.list {
				if err := f.put(tx, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		done += len(m.list)
		progress(done)
	}
	return ctx.Err()
}
