package main

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
)

func (p *program) policyCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "policy",
		Short: "Write, check and test this member's own rules, and explain decisions",
		Long: `Three sets of rules decide whether a document crosses a border, and all three
must permit: the base rules of Entente, the policy in the agreement that the
parties signed, and this member's own house rules, in the files policy/*.cedar of
the home. They are written in Cedar, a language for such rules.`,
		Example: `entente policy example
entente policy check
entente policy test cases.toml
entente policy explain 01K7XQ3W0V6N2T9R4M5B8C1D2E`,
	}, p.policyCheck(), p.policyTest(), p.policyExplain(), p.policyExample())
}

// houseRules reads the house rules in a folder, or those of the home.
func (p *program) houseRules(folder string) (policy.House, error) {
	if folder == "" {
		dir, err := p.dir()
		if err != nil {
			return policy.House{}, err
		}
		if _, err := node.ReadConfig(dir); err != nil {
			return policy.House{}, err
		}
		folder = filepath.Join(dir, node.HouseDir)
	}
	return node.ReadHouse(folder)
}

// readRules reads an agreement or a draft of one, and checks it; nil for no file.
func readRules(file string) (*statement.Agreement, error) {
	if file == "" {
		return nil, nil
	}
	b, err := readFile(file, limit.Agreement)
	if err != nil {
		return nil, err
	}
	if d, err := statement.ParseDraft[statement.Agreement](b); err == nil {
		return &d.Terms, node.CheckDraft(file, b, &d.Terms)
	}
	a, err := node.ReadDraft(file, b)
	if err != nil {
		return nil, err
	}
	return &a, node.CheckDraft(file, b, &a)
}

func (p *program) policyCheck() *cobra.Command {
	var house string
	cmd := &cobra.Command{
		Use:   "check [DRAFT]",
		Short: "Say whether the house rules, and the policy of an agreement, are sound",
		Long: `Check reads the house rules of the home, or those of --house DIR, as the node
does for every decision, and the policy section of a DRAFT of an agreement if
one is given. It says whether they load: whether every rule has a name (@id) of
its own and a @reason, every forbid says what it @needs, and each asks only for
what there is. What is wrong is named with file and line. Nothing is changed.

With --json: rules, sha256, and agreement if a DRAFT is given.`,
		Example: `entente policy check
entente policy check harbour-watch.toml
entente policy check --house ./policy`,
		Args: args("[DRAFT]"),
		RunE: func(_ *cobra.Command, given []string) error {
			rules, err := p.houseRules(house)
			if err != nil {
				return err
			}
			a, err := readRules(strings.Join(given, ""))
			if err != nil {
				return err
			}
			return p.checked(rules, a)
		},
	}
	cmd.Flags().StringVar(&house, "house", "", "the DIR with the house rules (default: that of the home)")
	_ = cmd.MarkFlagDirname("house")
	return cmd
}

func (p *program) checked(rules policy.House, a *statement.Agreement) error {
	permits, forbids := rules.Count()
	if p.json {
		out := struct {
			Rules     int    `json:"rules"`
			Hash      string `json:"sha256"`
			Agreement string `json:"agreement,omitempty"`
		}{Rules: permits + forbids, Hash: rules.Hash.String()}
		if a != nil {
			out.Agreement = a.Name
		}
		return p.emit(out)
	}
	p.printf("the house rules are sound: %d that permit, %d that forbid\n", permits, forbids)
	if permits == 0 {
		p.note("Without a rule that permits, nothing is permitted. Begin with: %s policy example permit-all\n", p.self())
	}
	switch {
	case a == nil:
	case a.Policy == "":
		p.printf("agreement %s has no policy of its own, so only base and house rules decide\n", a.Name)
	default:
		p.printf("the policy of agreement %s is sound\n", a.Name)
	}
	return nil
}

func (p *program) policyExample() *cobra.Command {
	return &cobra.Command{
		Use:   "example [NAME]",
		Short: "Print rules to begin with",
		Long: `Example lists the rules that come with the program, or prints those called NAME,
to be copied into a file policy/*.cedar of the home or into the policy section of
a draft of an agreement, and changed there.

With --json: an object a line with name, text.`,
		Example: `entente policy example
entente policy example personal-data`,
		Args:              args("[NAME]"),
		ValidArgsFunction: first(cobra.FixedCompletions(policy.Examples(), cobra.ShellCompDirectiveNoFileComp)),
		RunE: func(_ *cobra.Command, given []string) error {
			names := policy.Examples()
			if len(given) == 1 {
				if _, ok := policy.Example(given[0]); !ok {
					return fault.New(fault.NotFound, "there are "+strings.Join(names, ", "), "there is no example %.80q", given[0])
				}
				names = given
			}
			for _, name := range names {
				text, _ := policy.Example(name)
				switch {
				case p.json:
					if err := p.emit(struct {
						Name string `json:"name"`
						Text string `json:"text"`
					}{name, text}); err != nil {
						return err
					}
				case len(given) == 1:
					p.lines(strings.TrimSuffix(text, "\n"))
				default:
					p.printf("%s\n", name)
				}
			}
			return nil
		},
	}
}

func (p *program) policyTest() *cobra.Command {
	var house, agreement string
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Ask the rules about cases in a FILE, and compare with what is expected",
		Long: `Test asks the base rules, the house rules of the home or of --house DIR, and the
policy of --agreement DRAFT if one is given, about every case in FILE, a TOML
file with one [[case]] for each: docs/formats/policy-test.md. It prints every
case that came out otherwise than expected, with the reasons, and ends with 1 if
there is one. So a member can test its own rules wherever it tests its software.

With --json: an object a line with case, stage, expected, got, ok, rules,
reasons.`,
		Example: `entente policy test cases.toml
entente policy test cases.toml --house ./policy --agreement draft.toml`,
		Args: args("FILE"),
		RunE: func(_ *cobra.Command, given []string) error { return p.testPolicy(given[0], house, agreement) },
	}
	cmd.Flags().StringVar(&house, "house", "", "the DIR with the house rules (default: that of the home)")
	cmd.Flags().StringVar(&agreement, "agreement", "", "the DRAFT under which the documents are (default: one that allows what a case does)")
	_ = cmd.MarkFlagDirname("house")
	return cmd
}

func (p *program) testPolicy(file, house, agreement string) error {
	rules, err := p.houseRules(house)
	if err != nil {
		return err
	}
	a, err := readRules(agreement)
	if err != nil {
		return err
	}
	b, err := readFile(file, limit.Policy)
	if err != nil {
		return err
	}
	cases, err := policy.ParseCases(b, a)
	if err != nil {
		return fault.New(fault.Misused, "correct that line; docs/formats/policy-test.md says what there is", "%s: %w", file, err)
	}
	failed := 0
	for _, c := range cases {
		r := c.Test(rules)
		if !r.OK() {
			failed++
		}
		if err := p.caseResult(r); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fault.New(fault.Failed, "correct the rules, or the cases", "%d of %d cases came out otherwise than expected", failed, len(cases))
	}
	if !p.json {
		p.printf("%d cases, all as expected\n", len(cases))
	}
	return nil
}

type caseJSON struct {
	Case     string             `json:"case"`
	Stage    string             `json:"stage"`
	Expected string             `json:"expected"`
	Got      string             `json:"got"`
	OK       bool               `json:"ok"`
	Rules    []string           `json:"rules"`
	Reasons  []statement.Reason `json:"reasons,omitempty"`
}

func (p *program) caseResult(r policy.Result) error {
	if p.json {
		return p.emit(caseJSON{r.Case.Name, string(r.Case.Stage), string(r.Case.Expect), string(r.Got), r.OK(), r.Decision.Rules, r.Decision.Reasons})
	}
	if r.OK() {
		return nil
	}
	p.printf("line %d: %s: expected %s, got %s by %s\n", r.Case.Line, r.Case.Name, string(r.Case.Expect), string(r.Got), strings.Join(r.Decision.Rules, ", "))
	if len(r.Case.Rules) > 0 {
		p.printf("  expected by %s\n", strings.Join(r.Case.Rules, ", "))
	}
	p.reasons(r.Decision.Reasons)
	return nil
}

// reasons prints why something was not permitted.
func (p *program) reasons(list []statement.Reason) {
	for _, r := range list {
		p.printf("  %s: %s\n", styled(bold.Render(plain(r.Set+"/"+r.Rule))), r.Text)
		if r.Needs != "" {
			p.printf("    needed: %s\n", r.Needs)
		}
	}
}

func (p *program) policyExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain EXCHANGE",
		Short: "Say which rules decided about an exchange here, and why",
		Long: `Explain prints every decision that this node made about an EXCHANGE, or about a
document that was refused to be sent under an id: at which stage, who asked,
which rules permitted or did not, with the reasons and the values, and at which
leaf of the log it stands. Every decision is made again by the rules of then; if
that gives something else, or a text is missing, it says so.

House rules are named here, and nowhere else: other members learn only that they
said no.

With --json: an object a line with leaf, kind, time, stage, person, permit,
rules, reasons, again.`,
		Example: `entente policy explain 01K7XQ3W0V6N2T9R4M5B8C1D2E
entente policy explain alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo`,
		Args:              args("EXCHANGE"),
		ValidArgsFunction: first(p.completeExchanges(false)),
		RunE:              func(cmd *cobra.Command, given []string) error { return p.explain(cmd.Context(), given[0]) },
	}
}

type explainedJSON struct {
	Leaf    int64              `json:"leaf"`
	Kind    string             `json:"kind"`
	Time    time.Time          `json:"time"`
	Stage   string             `json:"stage"`
	Person  string             `json:"person,omitempty"`
	Permit  bool               `json:"permit"`
	Rules   []string           `json:"rules"`
	Reasons []statement.Reason `json:"reasons,omitempty"`
	Again   string             `json:"again"`
}

func (p *program) explain(ctx context.Context, ref string) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	list, err := h.Explain(ctx, ref)
	if err != nil {
		return err
	}
	for _, e := range list {
		same := "the same"
		if e.Again != nil {
			same = e.Again.Error()
		}
		if p.json {
			if err := p.emit(explainedJSON{e.Leaf, string(e.Kind), e.Time, e.Stage, e.Person, e.Decision.Permit, e.Decision.Rules, e.Decision.Reasons, same}); err != nil {
				return err
			}
			continue
		}
		verdict := styled(bad.Render("not permitted"))
		if e.Decision.Permit {
			verdict = "permitted"
		}
		who := ""
		if e.Person != "" {
			who = " by " + e.Person[strings.LastIndex(e.Person, "/")+1:]
		}
		p.printf("%s  %s%s: %s  (leaf %d, %s)\n", e.Time, e.Stage, who, verdict, e.Leaf, string(e.Kind))
		if e.Decision.Permit {
			p.printf("  by %s\n", strings.Join(e.Decision.Rules, ", "))
		}
		p.reasons(e.Decision.Reasons)
		if e.Again != nil {
			p.printf("  made again: %s\n", same)
		}
	}
	return nil
}
