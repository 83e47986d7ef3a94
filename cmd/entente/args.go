package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"entente.example/internal/fault"
)

func misused(cmd *cobra.Command, format string, args ...any) error {
	return fault.New(fault.Misused, "see: "+cmd.CommandPath()+" --help", format, args...)
}

// args checks positional arguments by the names that a command's usage gives them: NAME, [NAME], NAME... (one or more).
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		for i, name := range names {
			optional := strings.HasPrefix(name, "[")
			if i >= len(given) && !optional {
				return misused(cmd, "%s is missing", strings.TrimSuffix(name, "..."))
			}
			if i < len(given) && given[i] == "" {
				return misused(cmd, "%s is empty", strings.Trim(strings.TrimSuffix(name, "..."), "[]"))
			}
		}
		repeats := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		if len(given) > len(names) && !repeats {
			return misused(cmd, "%.80q is one argument too many", given[len(names)])
		}
		return nil
	}
}

// group makes a noun of its verbs. Alone it does nothing.
func group(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(verbs...)
	cmd.Args = noSuchCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		names := make([]string, len(verbs))
		for i, v := range verbs {
			names[i] = v.Name()
		}
		return misused(cmd, "%s needs one of: %s", cmd.Name(), strings.Join(names, ", "))
	}
	return cmd
}

// noSuchCommand refuses what should have been a command.
func noSuchCommand(cmd *cobra.Command, given []string) error {
	if len(given) == 0 {
		return nil
	}
	hint := "see: " + cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(given[0]); len(near) > 0 {
		hint = "did you mean: " + cmd.CommandPath() + " " + strings.Join(near, ", ")
	}
	return fault.New(fault.Misused, hint, "%s has no command %.80q", cmd.CommandPath(), given[0])
}

// required marks flags without which a command does not run.
func required(cmd *cobra.Command, names ...string) {
	for _, n := range names {
		if err := cmd.MarkFlagRequired(n); err != nil {
			panic(err) // a flag that is not there: a slip of the pen
		}
	}
}

// checkRequired names all missing flags at once, before cobra would in its own words.
func checkRequired(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := f.Annotations[cobra.BashCompOneRequiredFlag]; ok && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	is := "is"
	if len(missing) > 1 {
		is = "are"
	}
	return misused(cmd, "%s %s missing", strings.Join(missing, ", "), is)
}

// flagError says in our words what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		empty   *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown):
		flag := "--" + unknown.GetSpecifiedName()
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			flag = "-" + unknown.GetSpecifiedName()
		}
		return misused(cmd, "%s has no flag %.80q", cmd.CommandPath(), flag)
	case errors.As(err, &empty):
		return misused(cmd, "--%s needs a value", empty.GetFlag().Name)
	case errors.As(err, &invalid):
		why := invalid.Unwrap()
		if errors.Is(why, strconv.ErrSyntax) || errors.Is(why, strconv.ErrRange) {
			why = errors.New("must be a number")
			if invalid.GetFlag().Value.Type() == "bool" {
				why = errors.New("must be true or false")
			}
		}
		return misused(cmd, "--%s %.80q: %v", invalid.GetFlag().Name, invalid.GetValue(), why)
	case errors.As(err, &syntax):
		return misused(cmd, "%.80q is not a flag", syntax.GetSpecifiedFlag())
	}
	return misused(cmd, "%v", err)
}

// duration is a flag such as 90d, 2w or 12h.
type duration time.Duration

const day = 24 * time.Hour

// Set reads a whole number and a unit: s, m, h, d, w.
func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	if err != nil {
		return err
	}
	*d = duration(v)
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day}
	form := errors.New("must be a whole number and a unit, such as 90d, 2w or 12h")
	if len(s) < 2 {
		return 0, form
	}
	unit, ok := units[s[len(s)-1:]]
	digits := s[:len(s)-1]
	if !ok || strings.Trim(digits, "0123456789") != "" {
		return 0, form
	}
	const most = 36525 * day // a hundred years, which is also the longest retention
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(most/unit) {
		return 0, errors.New("is longer than a hundred years")
	}
	if n == 0 {
		return 0, errors.New("must be longer than nothing")
	}
	return time.Duration(n) * unit, nil
}

// String is empty for a duration that was not given.
func (d *duration) String() string {
	switch v := time.Duration(*d); {
	case v == 0:
		return ""
	case v%day == 0:
		return fmt.Sprintf("%dd", v/day)
	default:
		return v.String()
	}
}

// Type is what help shows in place of the value.
func (*duration) Type() string { return "duration" }

// days is a duration of whole days.
func (d *duration) days(flag string) (int64, error) {
	if v := time.Duration(*d); v%day != 0 {
		return 0, fault.New(fault.Misused, "give days or weeks, such as 90d or 12w", "--%s must be whole days", flag)
	}
	return int64(time.Duration(*d) / day), nil
}

// words is a list such as bravo,charlie: sorted, without repetition.
type words []string

// Set adds the words of a list.
func (w *words) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			return errors.New("must be words with commas between them")
		}
		*w = append(*w, part)
	}
	slices.Sort(*w)
	*w = slices.Compact(*w)
	return nil
}

// String joins them again.
func (w *words) String() string { return strings.Join(*w, ",") }

// Type is what help shows in place of the value.
func (*words) Type() string { return "words" }

// moment is a flag that names a time: today, YYYY-MM-DD, or RFC 3339. End makes a day mean its last second.
type moment struct {
	t    time.Time
	text string
	end  bool
	now  func() time.Time
}

// Set reads the time; days begin and end in UTC.
func (m *moment) Set(s string) error {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		d, dayErr := time.Parse(time.DateOnly, s)
		if s == "today" {
			d, dayErr = m.now().UTC().Truncate(day), nil
		}
		if dayErr != nil {
			return errors.New("must be a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")
		}
		if t = d; m.end {
			t = d.Add(day - time.Second)
		}
	}
	m.t, m.text = t.UTC().Truncate(time.Second), s
	return nil
}

// String gives the time as it was written.
func (m *moment) String() string { return m.text }

// Type is what help shows in place of the value.
func (*moment) Type() string { return "date" }

// join is for people.
func (w words) join() string { return strings.Join(w, ", ") }
