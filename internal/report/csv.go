package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// columns of the CSV. A row is an exception or an exchange; what does not apply to it is empty.
var columns = []string{"row", "class", "time", "exchange", "direction", "peer", "state", "agreement_version", "label", "purpose", "created", "deliver_by",
	"retain_until", "sealed_size", "manifest_sha256", "exceptions", "leaves", "text", "rules", "person"}

// CSV writes a table for spreadsheets: a row of names, then the exceptions, then the exchanges that the report lists. Its form is
// RFC 4180. Times are RFC 3339 in UTC; lists within a cell have spaces between their words.
//
// A cell that a spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets read as: this is text.
func (r *Report) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	write := func(cells map[string]string) {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = defused(cells[c])
		}
		_ = out.Write(row) // Error tells below
	}
	_ = out.Write(columns)
	for _, x := range r.Exceptions {
		cells := map[string]string{"row": "exception", "class": string(x.Class), "time": stamp(x.At), "exchange": x.Exchange, "peer": strings.Join(x.Peers, " "),
			"label": x.Label, "purpose": x.Purpose, "text": x.Text, "rules": strings.Join(x.Rules, " "), "person": x.Person}
		if x.Leaf != nil {
			cells["leaves"] = strconv.FormatInt(*x.Leaf, 10)
		}
		write(cells)
	}
	for i := range r.Listed {
		write(r.Listed[i].cells())
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write report as CSV: %w", err)
	}
	return nil
}

func (e *Entry) cells() map[string]string {
	var indexes []string
	for _, l := range e.Leaves {
		indexes = append(indexes, strconv.FormatInt(l.Index, 10))
	}
	if e.LeavesMore > 0 {
		indexes = append(indexes, fmt.Sprintf("and %d more", e.LeavesMore))
	}
	cells := map[string]string{"row": "exchange", "exchange": e.Exchange, "direction": e.Direction, "peer": e.Peer, "state": e.State,
		"agreement_version": strconv.FormatInt(e.Version, 10), "label": e.Label, "purpose": e.Purpose, "created": stamp(e.Created), "deliver_by": stamp(e.DeliverBy),
		"retain_until": stamp(e.RetainUntil), "sealed_size": strconv.FormatInt(e.Size, 10), "manifest_sha256": e.Manifest, "exceptions": join(e.Exceptions),
		"leaves": strings.Join(indexes, " "), "person": e.ReleasedBy}
	if len(e.Leaves) > 0 {
		cells["time"] = stamp(e.Leaves[0].At)
	}
	if e.OpenedBy != "" {
		cells["person"] = strings.TrimSpace(e.ReleasedBy + " " + e.OpenedBy)
	}
	return cells
}

// defused makes a cell text where a spreadsheet would run it. Which characters begin a formula is OWASP's list for CSV injection.
func defused(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func join[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return strings.Join(words, " ")
}
