package audit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/crash"
	"entente.example/internal/durable"
)

// A head is what a log has shown, or is about to show: never sign a checkpoint that does not extend it. Or it is what we have
// witnessed of another's log, and then has the checkpoint too, as that log signed it.
type head struct {
	Log  string // the log's origin, such as alpha/log/1
	Tree tlog.Tree
	Note []byte // a bare checkpoint of that tree; nil in a head of our own log, and of logs that are no member's
}

const headLine = "entente.example/head/v1"

// mostSlot bounds a slot file. With a checkpoint it takes 4 KiB, without one under 250 bytes.
const mostSlot = 16 << 10

// String renders a head as a slot holds it: four lines, then the checkpoint if there is one, and in the last line the SHA-256 of
// all that. It guards against a torn write and chance. Against an operator stand the other members, who co-sign checkpoints.
//
//	entente.example/head/v1
//	alpha/log/1
//	4711
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//	5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
func (h head) String() string {
	b := make([]byte, 0, 256+len(h.Note))
	b = append(b, headLine+"\n"+h.Log+"\n"...)
	b = append(strconv.AppendInt(b, h.Tree.N, 10), '\n')
	b = append(base64.StdEncoding.AppendEncode(b, h.Tree.Hash[:]), '\n')
	b = append(b, h.Note...)
	sum := sha256.Sum256(b)
	return string(append(hex.AppendEncode(b, sum[:]), '\n'))
}

// parseHead reads a slot. It must be its own rendering, so that every changed byte is found.
func parseHead(b []byte) (head, error) {
	if len(b) > mostSlot {
		return head{}, fmt.Errorf("parse head: it has more than %d bytes", mostSlot)
	}
	const sum = 2*sha256.Size + 1
	lines := strings.SplitN(string(b), "\n", 5)
	if len(lines) != 5 || lines[0] != headLine || len(lines[4]) < sum {
		return head{}, errors.New("parse head: it is cut off, or no head at all")
	}
	size, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil || size < 0 {
		return head{}, fmt.Errorf("parse head: %.40q is not a size", lines[2])
	}
	root, err := tlog.ParseHash(lines[3])
	if err != nil {
		return head{}, errors.New("parse head: the root is not 32 bytes in base64")
	}
	h := head{Log: lines[1], Tree: tlog.Tree{N: size, Hash: root}}
	if note := lines[4][:len(lines[4])-sum]; note != "" {
		h.Note = []byte(note)
	}
	if h.String() != string(b) {
		return head{}, errors.New("parse head: the checksum does not fit")
	}
	return h, nil
}

// slots is the two slots of a log in a folder. They are written in turn, so that a write that is cut off spoils only the one
// that was older; the newest that is sound is the head.
type slots struct {
	dir  string
	head [2]head
	size [2]int   // of the file, if the slot is sound
	err  [2]error // why a slot is not sound; fs.ErrNotExist if it is not there
	sync func(*os.File) error
	step string // what writing one is called in package crash
}

func slotName(i int) string { return "log-" + strconv.Itoa(i) }

func readSlots(dir string) (s slots) {
	s.dir, s.sync, s.step = dir, (*os.File).Sync, crash.HeadWrite
	for i := range s.head {
		s.head[i], s.size[i], s.err[i] = readSlot(filepath.Join(dir, slotName(i)))
	}
	return s
}

// readSlot reads at most a little more than a slot may have, and tells how much that is.
func readSlot(path string) (head, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return head{}, 0, err
	}
	b, err := io.ReadAll(io.LimitReader(f, mostSlot+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return head{}, 0, fmt.Errorf("read head: %w", err)
	}
	h, err := parseHead(b)
	return h, len(b), err
}

// readSlotsBeside reads the slots beside a process that may be writing them: a slot that is not sound gets another chance.
func readSlotsBeside(dir string) slots {
	s := readSlots(dir)
	for range 5 {
		if s.err[0] == nil && s.err[1] == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		s = readSlots(dir)
	}
	return s
}

// newest gives the slot that holds the head, or -1.
func (s *slots) newest() int {
	switch {
	case s.err[0] != nil && s.err[1] != nil:
		return -1
	case s.err[1] != nil:
		return 0
	case s.err[0] != nil:
		return 1
	case s.head[1].Tree.N > s.head[0].Tree.N:
		return 1
	}
	return 0
}

// absent tells that neither slot is there.
func (s *slots) absent() bool {
	return errors.Is(s.err[0], fs.ErrNotExist) && errors.Is(s.err[1], fs.ErrNotExist)
}

// advance writes the slot that does not hold the head. When it returns nil, h is the head and survives a power cut. A crash
// while it writes leaves that slot torn, and the head as it was: nothing was signed for the new one yet.
func (s *slots) advance(h head) error {
	return s.write(1-max(s.newest(), 0), h)
}

// errDoubtful: nobody knows what the disk holds. The kernel may have dropped what it could not write, and the next sync may
// report success all the same, so whoever wrote must not try again.
var errDoubtful = errors.New("what the disk holds is not known")

func (s *slots) write(i int, h head) error {
	path := filepath.Join(s.dir, slotName(i))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write head: %w", err)
	}
	text := h.String()
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil && (s.err[i] != nil || s.size[i] != len(text)) { // usually the size has as many digits as before
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = crash.Step(s.step, func() error { return s.sync(f) })
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write head: %w: %w", errDoubtful, err)
	}
	if errors.Is(s.err[i], fs.ErrNotExist) {
		if err := durable.SyncDir(s.dir); err != nil {
			return fmt.Errorf("write head: %w: %w", errDoubtful, err)
		}
	}
	s.head[i], s.size[i], s.err[i] = h, len(text), nil
	return nil
}

// lock keeps other processes, and other goroutines of this one, from advancing the head between reading and writing it.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	l := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock head: %w", err)
	}
	return func() { _ = l.Close() }, nil // the kernel lets go of it in any case
}
