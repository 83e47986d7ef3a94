package report

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"entente.example/internal/statement"
)

//go:embed report.css
var style string

//go:embed report.html
var page string

// pageTemplate has the style sheet in it, and the hash of the style sheet in its policy: a browser applies this one and no
// other, runs nothing, and loads nothing, whatever a mistake here may let through. Both are put in before the text becomes a template,
// because html/template lets no value into a policy.
var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"when": instant, "day": func(t time.Time) string { return t.UTC().Format(time.DateOnly) }, "size": size,
	"words": func(list []string) string { return strings.Join(list, ", ") },
	"kind":  kindMeaning, "number": number, "period": period, "parts": func(ref string) []string { return strings.Split(ref, "/") },
}).Parse(strings.NewReplacer("STYLE-SHA256", styleHash(), "STYLE-SHEET", style).Replace(page)))

func styleHash() string {
	sum := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// HTML writes the report as one page: A4 when it is printed, black on white, without scripts, and with everything in it. It is
// UTF-8. Whoever wants the whole page or nothing writes to a file that appears only afterwards.
func (r *Report) HTML(w io.Writer) error {
	out := bufio.NewWriter(w)
	tables := []table{{"Peer", "by peer", r.Peers}, {"Label", "by label", r.Labels}, {"Purpose", "by purpose", r.Purposes}}
	err := pageTemplate.Execute(out, struct {
		*Report
		Chart    *chart
		Tables   []table
		More     int64 // exceptions that are not listed
		MoreThan int64 // exchanges that are not listed
	}{r, draw(r.Period), tables, r.Totals.Exceptions - int64(len(r.Exceptions)), r.ExchangesTotal - int64(len(r.Listed))})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write report as HTML: %w", err)
	}
	return nil
}

// table is counts, for the page.
type table struct {
	Head, Caption string
	Rows          []Row
}

// meanings of the kinds of leaf, to somebody who does not know the program.
var meanings = map[statement.EventKind]string{
	statement.EventAgreement:     "a version of the agreement was adopted",
	statement.EventReleased:      "a document was signed and queued for all its recipients",
	statement.EventDenied:        "the policies said no to a person of this member",
	statement.EventReceived:      "a document was stored, and a receipt signed",
	statement.EventRefused:       "a document was refused, and a receipt signed",
	statement.EventDelivered:     "a recipient's receipt for a document came back",
	statement.EventReturned:      "a recipient's refusal came back",
	statement.EventExpired:       "no receipt came before the deadline, or somebody gave the delivery up",
	statement.EventOpened:        "a document was opened for the first time",
	statement.EventReopened:      "a document was opened again",
	statement.EventUndecryptable: "a document could not be opened, for good",
	statement.EventConfirmed:     "a recipient's receipt about opening came back",
	statement.EventWaiting:       "a document began to wait for the approval of a second person",
	statement.EventLapsed:        "a document that waited for approval got none in time, and was not sent",
	statement.EventRehearsed:     "a party asked what would be decided about a document",
	statement.EventRejected:      "a party's bad request, under whatever agreement",
}

func kindMeaning(k statement.EventKind) string { return meanings[k] }

// number groups digits by three, with a space that does not break.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// period names a period in days where it begins and ends with one, by its last day: people read "until" as inclusive.
func period(r *Report) string {
	if r.From.Equal(r.From.Truncate(24*time.Hour)) && r.To.Equal(r.To.Truncate(24*time.Hour)) {
		last := r.To.AddDate(0, 0, -1)
		if last.Equal(r.From) {
			return r.From.Format(time.DateOnly)
		}
		return r.From.Format(time.DateOnly) + " to " + last.Format(time.DateOnly) + ", both days included"
	}
	return instant(r.From) + " to before " + instant(r.To)
}

// size shows a number of bytes to three digits.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, "KiB"
	for _, larger := range []string{"MiB", "GiB", "TiB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1024, larger
	}
	if f < 100 {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}
