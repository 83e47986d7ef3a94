//go:build torture && linux

package torture_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // reads databases without package store
)

// What follows looks at the disks: at SQLite's tables by SQL, at the files by name. It uses none of the program's code, so a mistake there is not
// repeated here. After all of it, lab.World.Check has the program's own verification look at the same homes.

// disk is one member's home.
type disk struct {
	home string
	db   *sql.DB
}

func openDisk(home string) (*disk, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(home, "entente.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	return &disk{home, db}, err
}

// rows gives the first two columns of what a query finds.
func (d *disk) rows(query string, args ...any) (list [][2]string, err error) {
	rows, err := d.db.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r [2]string
		if err := rows.Scan(&r[0], &r[1]); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// checkNew looks at the documents that have come to their end since it looked last, and at what holds all the time. The nodes may run.
func (w *world) checkNew() error {
	disks := map[string]*disk{}
	for _, m := range w.lab.Names {
		d, err := openDisk(w.lab.Home(m))
		if err != nil {
			return err
		}
		defer d.db.Close()
		disks[m] = d
	}
	for _, s := range w.sent {
		if s.checked {
			continue
		}
		if err := s.check(disks[s.from], disks[s.to]); err != nil {
			return fmt.Errorf("%s: %w", s.ref(), err)
		}
		s.checked, s.doc = true, nil
		report.document()
	}
	for m, d := range disks {
		other := "bravo"
		if m == other {
			other = "alpha"
		}
		if err := d.checkOrder(m, w.lab.Home(other)); err != nil {
			return fmt.Errorf("%s: %w", m, err)
		}
	}
	return nil
}

// ends says, for each state that an exchange may end in, what receipts and which leaves there are then at either side, once each.
var ends = map[string]struct{ receipts, sender, recipient []string }{
	"opened":        {[]string{"opened", "stored"}, []string{"confirmed", "delivered", "released"}, []string{"opened", "received"}},
	"undecryptable": {[]string{"stored", "undecryptable"}, []string{"confirmed", "delivered", "released"}, []string{"received", "undecryptable"}},
	"expired":       {nil, []string{"expired", "released"}, nil},
}

var ciphertext = regexp.MustCompile(`(?m)^ciphertext_sha256 = "([0-9a-f]{64})"$`)

// check looks at one document that has come to its end.
func (s *sending) check(from, to *disk) error {
	want := ends[s.state]
	var manifest string
	for i, d := range []*disk{from, to} {
		rows, err := d.rows(`SELECT lower(hex(e.manifest)), e.state FROM exchange e JOIN manifest m ON m.sha256 = e.manifest WHERE m.sender = ? AND m.id = ? AND e.recipient = ?`, s.from, s.id, s.to)
		if err != nil {
			return err
		}
		if i == 1 && s.state == "expired" {
			if len(rows) > 0 {
				return fmt.Errorf("it expired, and its recipient has it: %v", rows)
			}
			break
		}
		state := s.state
		if i == 0 && len(want.receipts) > 0 {
			state = "delivered" // later receipts stand beside it
		}
		if len(rows) != 1 || rows[0][1] != state || manifest != "" && rows[0][0] != manifest {
			return fmt.Errorf("there is to be one row, %s, of the same manifest on both sides; %s has %v", state, filepath.Base(d.home), rows)
		}
		manifest = rows[0][0]
	}
	receipts := [2]map[string]string{}
	for i, d := range []*disk{from, to} {
		rows, err := d.rows(`SELECT r.kind, s.raw FROM receipt r JOIN statement s ON s.sha256 = r.sha256 WHERE lower(hex(r.manifest)) = ?`, manifest)
		if err != nil {
			return err
		}
		receipts[i] = map[string]string{}
		for _, r := range rows {
			receipts[i][r[0]] = r[1]
		}
		if got := slices.Sorted(maps.Keys(receipts[i])); len(rows) != len(want.receipts) || !slices.Equal(got, want.receipts) {
			return fmt.Errorf("%s has the receipts %v, and is to have %v", filepath.Base(d.home), got, want.receipts)
		}
	}
	if !maps.Equal(receipts[0], receipts[1]) {
		return errors.New("the two sides have different receipts")
	}
	for i, d := range []*disk{from, to} {
		leaves := want.sender
		if i == 1 {
			leaves = want.recipient
		}
		if err := d.checkDocument(manifest, leaves); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(d.home), err)
		}
	}
	return nil
}

// checkDocument wants these leaves about a manifest, nothing in the outbox, and its blob, if there is a row that says so.
func (d *disk) checkDocument(manifest string, want []string) error {
	rows, err := d.rows(`SELECT body, idx FROM leaf WHERE lower(hex(about)) = ?`, manifest)
	if err != nil {
		return err
	}
	var kinds []string
	for _, r := range rows {
		var leaf struct {
			Kind string `json:"kind"`
		}
		if err := json.Unmarshal([]byte(r[0]), &leaf); err != nil {
			return fmt.Errorf("leaf %s: %w", r[1], err)
		}
		if leaf.Kind != "reopened" { // as often as somebody asks
			kinds = append(kinds, leaf.Kind)
		}
	}
	if slices.Sort(kinds); !slices.Equal(kinds, want) {
		return fmt.Errorf("the leaves about it are %v, and are to be %v", kinds, want)
	}
	if rows, err = d.rows(`SELECT peer, kind FROM outbox WHERE lower(hex(statement)) = ?`, manifest); err != nil || len(rows) > 0 {
		return fmt.Errorf("it is settled, and the outbox still has %v: %w", rows, err)
	}
	rows, err = d.rows(`SELECT s.raw, COALESCE(m.payload, x'') FROM statement s LEFT JOIN manifest m ON m.sha256 = s.sha256 WHERE lower(hex(s.sha256)) = ?`, manifest)
	if err != nil || len(rows) != 1 && want != nil {
		return fmt.Errorf("there are %d manifests: %w", len(rows), err)
	}
	for _, r := range rows {
		hash := ciphertext.FindStringSubmatch(r[0])
		if hash == nil {
			return errors.New("the manifest names no ciphertext")
		}
		b := []byte(r[1])
		if len(b) == 0 {
			if b, err = os.ReadFile(filepath.Join(d.home, "blobs", manifest[:2], manifest)); err != nil {
				return fmt.Errorf("its blob: %w", err)
			}
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != hash[1] {
			return errors.New("its payload is not what the manifest says")
		}
	}
	return nil
}

// checkOrder wants tree ≥ head ≥ checkpoint ≥ what the other holds of it. They are read from the last to the first, since all of them grow.
func (d *disk) checkOrder(member, other string) error {
	witnessed, err := largestHead(filepath.Join(other, "head", "*", "log-*"), member+"/log/1")
	if err != nil {
		return err
	}
	rows, err := d.rows(`SELECT coalesce(max(size), 0), '' FROM checkpoint`)
	if err != nil {
		return err
	}
	checkpoint, err := strconv.Atoi(rows[0][0])
	if err != nil {
		return err
	}
	head, err := largestHead(filepath.Join(d.home, "head", "log-*"), member+"/log/1")
	if err != nil {
		return err
	}
	if rows, err = d.rows(`SELECT count(*), coalesce(max(idx), -1) + 1 FROM leaf`); err != nil {
		return err
	}
	tree, err := strconv.Atoi(rows[0][0])
	if err != nil || rows[0][0] != rows[0][1] || tree < head || head < checkpoint || checkpoint < witnessed {
		return fmt.Errorf("it is to be tree ≥ head ≥ checkpoint ≥ witnessed, and is %v ≥ %d ≥ %d ≥ %d", rows[0], head, checkpoint, witnessed)
	}
	return nil
}

// largestHead reads the slots that a pattern names, and gives the largest size that a sound one has of that log. A slot is being written while it
// is read, perhaps; then its sum does not fit.
func largestHead(pattern, log string) (largest int, err error) {
	files, err := filepath.Glob(pattern)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		at := len(b) - 2*sha256.Size - 1
		lines := strings.Split(string(b), "\n")
		if at < 0 || len(lines) < 4 || lines[1] != log {
			continue
		}
		if sum := sha256.Sum256(b[:at]); hex.EncodeToString(sum[:])+"\n" != string(b[at:]) {
			continue
		}
		size, err := strconv.Atoi(lines[2])
		if err != nil {
			return 0, err
		}
		largest = max(largest, size)
	}
	return largest, err
}

// checkWhole looks at everything, with no node running. First each home recovers from a kill, twice, and is the same after the second time.
func (w *world) checkWhole() error {
	w.stop()
	for _, m := range w.lab.Names {
		if err := w.age(m); err != nil {
			return err
		}
		var before []byte
		for i := range 2 {
			if err := w.nodes[m].start(nil, w.env[m]...); err != nil {
				return err
			}
			w.nodes[m].kill()
			after, err := digest(w.lab.Home(m))
			if err != nil {
				return err
			}
			if i == 1 && !bytes.Equal(before, after) {
				return fmt.Errorf("%s: the second recovery changed what the first had left:\n%s\n%s", m, before, after)
			}
			before = after
		}
	}
	if err := w.lab.Check(w.t.Context()); err != nil {
		return err
	}
	return w.checkBlobs()
}

// age makes temporary files look as old as they must be before somebody else may remove them.
func (w *world) age(member string) error {
	return filepath.WalkDir(w.lab.Home(member), func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".new-") {
			long := time.Now().Add(-24 * time.Hour)
			err = os.Chtimes(path, long, long)
		}
		return err
	})
}

// digest lists what a home holds, but for what a start adds: the checkpoint that says it again.
func digest(home string) ([]byte, error) {
	var list bytes.Buffer
	err := filepath.WalkDir(home, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.Contains(path, "/staging/") || strings.HasPrefix(e.Name(), ".new-") {
			return fmt.Errorf("a temporary file outlived the recovery: %s", path)
		}
		if strings.HasPrefix(e.Name(), "entente.db-") {
			return nil // SQLite's own
		}
		fmt.Fprintln(&list, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	d, err := openDisk(home)
	if err != nil {
		return nil, err
	}
	defer d.db.Close()
	for _, q := range []string{
		`SELECT 'leaves', count(*) FROM leaf`, `SELECT 'statements', count(*) FROM statement`, `SELECT 'receipts', count(*) FROM receipt`,
		`SELECT state, count(*) FROM exchange GROUP BY state ORDER BY state`, `SELECT kind, count(*) FROM outbox GROUP BY kind ORDER BY kind`,
	} {
		rows, err := d.rows(q)
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(&list, rows)
	}
	return list.Bytes(), nil
}

// checkBlobs wants the blobs of acknowledged documents, and no others.
func (w *world) checkBlobs() error {
	for _, m := range w.lab.Names {
		d, err := openDisk(w.lab.Home(m))
		if err != nil {
			return err
		}
		named, err := d.rows(`SELECT lower(hex(sha256)), '' FROM manifest WHERE payload IS NULL`)
		if err := errors.Join(err, d.db.Close()); err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(w.lab.Home(m), "blobs", "*", "*"))
		if err != nil || len(files) != len(named) {
			return fmt.Errorf("%s has %d manifests without a payload in their row and %d blobs: %w", m, len(named), len(files), err)
		}
	}
	return nil
}
