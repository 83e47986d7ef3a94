package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Report is what a verification did and found.
type Report struct {
	Log        string    // the log's origin, as its key names it
	Leaves     int64     // leaves that the log has
	Root       tlog.Hash // of the tree over them
	Checkpoint int64     // the size that the checkpoint covers; -1 if there is none that is sound

	From    int64     // the first leaf that was read; those before it Earlier found sound
	Earlier *Verified // nil if all were read

	// What was checked, of a home. An export has leaves only.
	Statements int64 // signatures of statements that were verified; the same statement may count twice
	Decisions  int64 // made again from their records
	Exchanges  int64
	Documents  int64 // hashed
	Bytes      int64 // of those documents

	Problems  []Problem // at most 100, in the order of checking
	More      int       // problems beyond those
	Notes     []Note    // at most 100, in the order of checking
	MoreNotes int       // notes beyond those

	rows    counts // the numbers of rows of a home
	partial bool   // something was left out because the caller asked so
}

// Note is something that is no damage, but that somebody should know.
type Note struct {
	Kind  NoteKind
	Where string // as in Problem
	What  string // one sentence without a full stop
}

// NoteKind says what a note is about.
type NoteKind string

// The kinds of notes.
const (
	NoteOverdue     NoteKind = "overdue"      // a document is still here a day after its retention ended
	NoteNotReplayed NoteKind = "not-replayed" // a decision cannot be made again with what this program has
	NoteUnwitnessed NoteKind = "unwitnessed"  // whose log an export is, or who co-signed it, is not known
	NoteVerified    NoteKind = "verified"     // what an earlier verification left cannot be used, or this one cannot be remembered
)

// String gives "WHERE: WHAT".
func (n Note) String() string { return n.Where + ": " + n.What }

// Problem is one thing that is not as it must be.
type Problem struct {
	Where string // a file, or a table with the row, such as "receipt 9f2c41aa03bd"
	What  string // one sentence without a full stop
}

// String gives "WHERE: WHAT".
func (p Problem) String() string { return p.Where + ": " + p.What }

// OK tells whether nothing was found.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

const mostProblems = 100

func (r *Report) add(where, format string, args ...any) {
	if len(r.Problems) == mostProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{where, fmt.Sprintf(format, args...)})
}

func (r *Report) note(kind NoteKind, where, format string, args ...any) {
	if len(r.Notes) == mostProblems {
		r.MoreNotes++
		return
	}
	r.Notes = append(r.Notes, Note{kind, where, fmt.Sprintf(format, args...)})
}

// Note adds a note to the report.
func (r *Report) Note(kind NoteKind, where, what string) { r.note(kind, where, "%s", what) }
