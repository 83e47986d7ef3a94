package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/crash"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Witness co-signs the checkpoints of other logs: by the rules of C2SP tlog-witness, and so that of two histories of one log it co-signs
// at most one, whatever is asked at the same time, and wherever a crash comes. What it holds of each log stands in a folder of its own,
// witnessed/LOG in the folder of the head, in two slots as the head does.
//
// It may be used concurrently. Two processes may share a folder, too: they lock it.
type Witness struct {
	dir string
	key WitnessKeys

	// Now is the clock that co-signatures are dated by. Set it before the first Add, or leave it: the system's clock.
	Now func() time.Time

	sync func(*os.File) error // (*os.File).Sync, but in tests

	mu   sync.Mutex // guards what follows
	logs map[string]*witnessed
	last time.Time // of the newest co-signature
}

// WitnessKeys sign for a witness. Both bear its name.
type WitnessKeys struct {
	Ed25519 *statement.Key
	MLDSA   *checkpoint.Key
}

// witnessed is one log. Its lock is held from reading what is held until that is replaced: the compare-and-swap of C2SP tlog-witness.
type witnessed struct {
	mu     sync.Mutex
	synced bool  // what the slots hold is on the disk, and not only in the kernel's memory
	failed error // of writing, after which nothing is known about the disk
}

// NewWitness makes a witness. headDir is the folder head/ of the home, as for OpenLog.
func NewWitness(headDir string, key WitnessKeys) *Witness {
	return &Witness{dir: filepath.Join(headDir, witnessedDir), key: key, Now: time.Now, sync: (*os.File).Sync, logs: map[string]*witnessed{}}
}

const witnessedDir = "witnessed"

// The statuses of C2SP tlog-witness, as HTTP has them.
const (
	StatusOK         = 200
	StatusMalformed  = 400 // or the old size is larger than the checkpoint's
	StatusForbidden  = 403 // the log's signatures are not good, or bear a date in the future, or the log forked
	StatusUnknownLog = 404
	StatusConflict   = 409 // the old size is not the one that we hold, or we hold another root of the same size
	StatusNoProof    = 422 // the proof does not show that the log only grew
)

// Known is what is known of a log whose checkpoint somebody wants to have co-signed: the keys of one kind.
type Known struct {
	Log     checkpoint.Log // of a member's log
	Foreign string         // the verifier key of a third party's log
	Forked  []byte         // the proof that the log forked, if there is one: then it is never co-signed again
}

// Answer is what a witness answers, as C2SP tlog-witness says it over HTTP, and a little more.
type Answer struct {
	Status int    // 200, 400, 403, 404, 409 or 422
	Body   []byte // with 200 the co-signature lines, with 409 the size that we hold, in decimal and with a line feed, else one sentence
	Held   []byte // with 409 the bare checkpoint that we hold of a member's log, if there is one
	Fork   []byte // the proof that the log forked: a new one, or the one in Known

	Clock      time.Time // with 403 for a date in the future, what the time is here
	Origin     string    // of the log, unless Status is 400 or 404
	Tree       tlog.Tree // with 200, that was co-signed
	Checkpoint []byte    // with 200, the bare checkpoint of a member's log that was co-signed
}

func answer(status int, format string, args ...any) Answer {
	return Answer{Status: status, Body: fmt.Appendf(nil, format+"\n", args...)}
}

// ContentType is the type of Body over HTTP.
func (a Answer) ContentType() string {
	if a.Status == StatusConflict {
		return "text/x.tlog.size"
	}
	return "text/plain; charset=utf-8"
}

// Add looks at one request for a co-signature, the body of add-checkpoint, and answers it. known finds out about a log by its origin; ok is
// false for a log that is not witnessed. oldRoot may be empty, or the root that the log claims for the old size: if that is not what we
// hold and the proof begins with it, the request proves that the log forked, and so it does if its checkpoint and ours
// contradict each other. See checkpoint.Fork.
//
// When the status is 200, what was co-signed survives a power cut. An error is our own trouble, and nothing was co-signed.
func (w *Witness) Add(ctx context.Context, known func(origin string) (k Known, ok bool), raw, oldRoot []byte) (Answer, error) {
	r, err := checkpoint.ParseRequest(raw)
	if err != nil {
		return answer(StatusMalformed, "%v", err), nil
	}
	name, _, _ := bytes.Cut(r.Checkpoint, []byte("\n"))
	origin := string(name)
	k, ok := known(origin)
	if !ok {
		return answer(StatusUnknownLog, "the log %.80q is not witnessed here", origin), nil
	}
	c, refusal := open(origin, k, r.Checkpoint)
	if refusal != nil {
		return *refusal, nil
	}
	l := w.log(origin)
	l.mu.Lock()
	defer l.mu.Unlock()
	a, err := w.swap(ctx, l, k, c, r, oldRoot)
	if err != nil {
		return Answer{}, fmt.Errorf("witness %s: %w", origin, err)
	}
	a.Origin = origin
	return a, nil
}

func (w *Witness) log(origin string) *witnessed {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[origin]
	if l == nil {
		l = &witnessed{}
		w.logs[origin] = l
	}
	return l
}

// opened is a checkpoint whose signature is good.
type opened struct {
	head           // Note is nil for a third party's log
	text []byte    // all that was signed
	at   time.Time // when, by the log's own word; zero for a third party's log, which gives none
}

// open verifies a checkpoint under the keys of its log. Lines of others are ignored.
func open(origin string, k Known, raw []byte) (*opened, *Answer) {
	refuse := func(status int, err error) (*opened, *Answer) {
		a := answer(status, "%v", err)
		return nil, &a
	}
	if k.Foreign != "" {
		c, err := checkpoint.OpenForeign(raw, k.Foreign)
		if errors.As(err, new(*note.UnverifiedNoteError)) || errors.As(err, new(*note.InvalidSignatureError)) {
			return refuse(StatusForbidden, err)
		}
		if err != nil {
			return refuse(StatusMalformed, err)
		}
		return &opened{head: head{Log: origin, Tree: c.Tree}, text: c.Text}, nil
	}
	if _, _, err := checkpoint.Head(raw); err != nil {
		return refuse(StatusMalformed, err)
	}
	bare, err := checkpoint.Bare(raw)
	if err != nil {
		return refuse(StatusForbidden, err)
	}
	c, err := checkpoint.Open(bare, k.Log)
	if err != nil {
		return refuse(StatusForbidden, err)
	}
	return &opened{head{Log: origin, Tree: c.Tree, Note: bare}, checkpoint.Text(origin, c.Tree), c.Time}, nil
}

// swap compares with what we hold, replaces it, and co-signs. The caller holds the log's lock.
func (w *Witness) swap(ctx context.Context, l *witnessed, k Known, c *opened, r checkpoint.Request, oldRoot []byte) (Answer, error) {
	if k.Forked != nil {
		a := answer(StatusForbidden, "the log %s forked, and is not co-signed any more", c.Log)
		a.Fork = k.Forked
		return a, nil
	}
	if l.failed != nil {
		return Answer{}, fault.New(fault.Failed, "see to the disk, then start the program again", "what was witnessed could not be written, and nothing is co-signed since: %w", l.failed)
	}
	dir := filepath.Join(w.dir, folder(c.Log))
	if err := durable.MkdirAll(dir); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	unlock, err := lock(ctx, dir)
	if err != nil {
		return Answer{}, err
	}
	defer unlock()
	s, held, err := w.read(dir, c.Log)
	if err != nil {
		return Answer{}, err
	}
	a := judge(held, c, r)
	a.Fork = contradiction(k.Log, held, c, r, oldRoot)
	if a.Fork != nil && a.Status == StatusOK {
		a = Answer{Status: StatusForbidden, Body: []byte("this log contradicts itself\n"), Fork: a.Fork}
	}
	if a.Status != StatusOK {
		return a, nil
	}
	if now := w.Now(); c.at.After(now.Add(limit.ClockSkew)) {
		// Nobody could hold the log to a date that has not come: until then, an older state of it would pass for one signed earlier.
		a = answer(StatusForbidden, "the log says that it signed this at %s, and here it is %s: its clock seems to be ahead",
			c.at.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		a.Clock = now
		return a, nil
	}
	if err := l.keep(&s, held, c.head); err != nil {
		return Answer{}, err
	}
	// A crash here leaves a head that nobody has our co-signature for. The log asks again, from where we are.
	a.Body, err = checkpoint.Cosign(c.text, c.Log, c.Tree, w.time(), w.key.Ed25519, w.key.MLDSA)
	a.Tree, a.Checkpoint = c.Tree, c.Note
	return a, err
}

// time is now, but never before the newest co-signature: each of them says that this was then the largest tree.
func (w *Witness) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.Now(); now.After(w.last) {
		w.last = now
	}
	return w.last
}

// read gives what we hold of a log: nothing, if there are no slots.
func (w *Witness) read(dir, origin string) (slots, head, error) {
	s := readSlots(dir)
	s.step = crash.WitnessHead
	s.sync = w.sync
	at := s.newest()
	switch {
	case s.absent():
		empty, _ := tlog.TreeHash(0, nil) // reads nothing
		return s, head{Log: origin, Tree: tlog.Tree{Hash: empty}}, nil
	case at < 0:
		return s, head{}, fault.New(fault.Conflict, "bring the folder back as it was when the node last ran", "both slots in %s are damaged", dir)
	case s.head[at].Log != origin:
		return s, head{}, fault.New(fault.Conflict, "bring the folder back as it was when the node last ran", "the head in %s belongs to the log %.80q", dir, s.head[at].Log)
	}
	return s, s.head[at], nil
}

// judge applies the rules of C2SP tlog-witness, add-checkpoint, in their order. Unless all hold, the status is not 200.
func judge(held head, c *opened, r checkpoint.Request) Answer {
	conflict := Answer{Status: StatusConflict, Body: fmt.Appendf(nil, "%d\n", held.Tree.N), Held: held.Note}
	switch {
	case r.Old > c.Tree.N:
		return answer(StatusMalformed, "the old size %d is larger than the checkpoint's, %d", r.Old, c.Tree.N)
	case r.Old != held.Tree.N:
		return conflict
	case r.Old == c.Tree.N && r.Old > 0 && c.Tree.Hash != held.Tree.Hash:
		return conflict
	case r.Old == c.Tree.N && c.Tree.Hash != held.Tree.Hash:
		return answer(StatusNoProof, "an empty tree does not have that root")
	case r.Old == c.Tree.N && len(r.Proof) > 0:
		return answer(StatusNoProof, "from size %d to itself no proof is needed, and none is allowed", r.Old)
	case r.Old == 0 && len(r.Proof) > 0:
		return answer(StatusNoProof, "from size 0 no proof is needed, and none is allowed")
	case r.Old == 0 || r.Old == c.Tree.N:
		return Answer{Status: StatusOK}
	}
	if err := tlog.CheckTree(r.Proof, c.Tree.N, c.Tree.Hash, held.Tree.N, held.Tree.Hash); err != nil {
		return answer(StatusNoProof, "the proof does not show that the log only grew from %d to %d leaves", held.Tree.N, c.Tree.N)
	}
	return Answer{Status: StatusOK}
}

// keep makes a larger tree the one that we hold, durably. Of checkpoints of one tree the first stays: it says since when.
func (l *witnessed) keep(s *slots, held, c head) (err error) {
	switch at := s.newest(); {
	case c.Tree.N > held.Tree.N:
		err = s.advance(c)
	case !l.synced && at >= 0:
		err = s.write(at, held) // perhaps a crash came before it was synced
	}
	if errors.Is(err, errDoubtful) {
		l.failed = err
	}
	l.synced = l.synced || err == nil
	return err
}

// contradiction gives the proof that the log forked, if what it asks and what we hold are one.
func contradiction(log checkpoint.Log, held head, c *opened, r checkpoint.Request, oldRoot []byte) []byte {
	if held.Note == nil || c.Note == nil {
		return nil
	}
	// What the two say by themselves comes first. It may be about a log that only grew, but dated the larger tree earlier.
	if fork := Contradiction(log, held.Note, c.Note, tlog.Hash{}, nil); fork != nil {
		return fork
	}
	if r.Old == held.Tree.N && len(oldRoot) == tlog.HashSize && !bytes.Equal(oldRoot, held.Tree.Hash[:]) {
		return Contradiction(log, held.Note, c.Note, tlog.Hash(oldRoot), r.Proof)
	}
	return nil
}

// Contradiction gives the proof, as checkpoint.Fork formats it, that two bare checkpoints of a log contradict each other, or nil if they do
// not. If the larger tree begins with oldRoot, as a consistency proof shows, that may be the contradiction.
func Contradiction(log checkpoint.Log, a, b []byte, oldRoot tlog.Hash, proof tlog.TreeProof) []byte {
	f, err := checkpoint.NewFork(a, b)
	if err != nil {
		return nil
	}
	if _, err := f.Check(log); err == nil {
		return f.Format()
	}
	if proof == nil {
		proof = tlog.TreeProof{} // a perfect tree needs no hashes
	}
	f.OldRoot, f.Proof = oldRoot, proof
	if _, err := f.Check(log); err == nil {
		return f.Format()
	}
	return nil
}

var plainOrigin = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+)*$`)

// folder names the folder of a log: a member's as alpha.log.1, any other by its hash, so that no two share one.
func folder(origin string) string {
	if plainOrigin.MatchString(origin) && len(origin) < 2*sha256.Size {
		return strings.ReplaceAll(origin, "/", ".")
	}
	return statement.HashBytes([]byte(origin)).String()
}

// Witnessed is what a home holds of another's log.
type Witnessed struct {
	Log  string
	Tree tlog.Tree
	At   time.Time // when we first co-signed this tree, by the file's time
	Note []byte    // the bare checkpoint; nil for a third party's log
}

// Held gives what a witness holds of a log. ok is false if it never co-signed it.
func (w *Witness) Held(origin string) (h Witnessed, ok bool, err error) {
	l := w.log(origin)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, held, err := w.read(filepath.Join(w.dir, folder(origin)), origin)
	return Witnessed{Log: origin, Tree: held.Tree, Note: held.Note}, held.Tree.N > 0, err
}

// ListWitnessed reads what a home has witnessed, sorted by log, also beside a node that runs. headDir is as for NewWitness.
func ListWitnessed(headDir string) (list []Witnessed, err error) {
	dir := filepath.Join(headDir, witnessedDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list what is witnessed: %w", err)
	}
	for _, e := range entries {
		s := readSlotsBeside(filepath.Join(dir, e.Name()))
		at := s.newest()
		if s.absent() {
			continue // asked for once, and refused
		}
		if at < 0 {
			return nil, fmt.Errorf("list what is witnessed: both slots in %s are damaged", filepath.Join(dir, e.Name()))
		}
		h := s.head[at]
		one := Witnessed{Log: h.Log, Tree: h.Tree, Note: h.Note}
		if info, err := os.Stat(filepath.Join(dir, e.Name(), slotName(at))); err == nil {
			one.At = info.ModTime().UTC()
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Witnessed) int { return strings.Compare(a.Log, b.Log) })
	return list, nil
}
