package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/policy"
	"entente.example/internal/store"
)

func (p *program) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what makes a shell complete our commands: bash, zsh, fish or powershell",
		Long: `Completion prints a script for your shell. Once it is loaded, the tab key
completes commands and flags, and the members, agreements, purposes, persons and
exchanges of the home.

With --json nothing else is printed: the script is a text.`,
		Example: `# For this session
source <(entente completion bash)
# For every one
entente completion bash > ~/.local/share/bash-completion/completions/entente
entente completion fish > ~/.config/fish/completions/entente.fish
# For zsh, into a folder of its fpath
entente completion zsh > ~/.zfunc/_entente`,
		Args:              args("SHELL"),
		ValidArgsFunction: first(cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp)),
		RunE: func(cmd *cobra.Command, given []string) error {
			root := cmd.Root()
			switch given[0] {
			case "bash":
				return root.GenBashCompletionV2(p.wrote, true)
			case "zsh":
				return root.GenZshCompletion(p.wrote)
			case "fish":
				return root.GenFishCompletion(p.wrote, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(p.wrote)
			}
			return fault.New(fault.Misused, "the shells are: "+strings.Join(shells, ", "), "%.80q is no shell that we know", given[0])
		},
	}
}

// Completion looks into the home, for a moment, and keeps quiet about whatever goes wrong: a shell that is completing a
// line is no place for errors.

type completer = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

const completionTime = time.Second

// look gives what `find` finds in the home.
func (p *program) look(prefix string, find func(context.Context, *node.Home) ([]string, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	h, err := p.read(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer h.Close()
	found, err := find(ctx, h)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return withPrefix(found, prefix), cobra.ShellCompDirectiveNoFileComp
}

func withPrefix(words []string, prefix string) []cobra.Completion {
	words = slices.Compact(slices.Sorted(slices.Values(words)))
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, prefix) })
}

// first completes the first argument only.
func first(c completer) completer {
	return func(cmd *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c(cmd, given, prefix)
	}
}

func (p *program) completePersons(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.look(prefix, func(_ context.Context, h *node.Home) (names []string, err error) {
		list, err := h.People()
		for _, one := range list {
			names = append(names, one.Name)
		}
		return names, err
	})
}

// completeMembers completes the last word of a list of members.
func (p *program) completeMembers(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	done := prefix[:strings.LastIndexByte(prefix, ',')+1]
	found, _ := p.look(prefix, func(ctx context.Context, h *node.Home) (names []string, err error) {
		history, err := h.History(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range history.Members() {
			names = append(names, done+m.Name)
		}
		return names, nil
	})
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (p *program) completeAgreements(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.look(prefix, func(ctx context.Context, h *node.Home) (names []string, err error) {
		list, err := h.Agreements(ctx, p.now())
		for _, a := range list {
			names = append(names, a.Terms.Name)
		}
		return names, err
	})
}

func (p *program) completePurposes(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	chosen, _ := cmd.Flags().GetString("agreement")
	return p.look(prefix, func(ctx context.Context, h *node.Home) (purposes []string, err error) {
		list, err := h.Agreements(ctx, p.now())
		for _, a := range list {
			if chosen == "" || a.Terms.Name == chosen {
				purposes = append(purposes, a.Terms.Purposes...)
			}
		}
		return purposes, err
	})
}

func completeLabels(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	labels := slices.DeleteFunc(policy.Labels(), func(l string) bool { return !strings.HasPrefix(l, prefix) })
	return labels, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeAgreed completes a label of the schemes of the agreement that was chosen, or of TLP.
func (p *program) completeAgreed(cmd *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	chosen, _ := cmd.Flags().GetString("agreement")
	found, directive := p.look(prefix, func(ctx context.Context, h *node.Home) (labels []string, err error) {
		list, err := h.Agreements(ctx, p.now())
		for _, a := range list {
			if a.Terms.Name == chosen && a.InForce {
				labels = policy.SchemesOf(&a.Terms).Labels()
			}
		}
		return labels, err
	})
	if len(found) == 0 {
		return completeLabels(cmd, given, prefix)
	}
	return found, directive
}

// completeExchanges offers the newest exchanges, those received only if inbox is true.
func (p *program) completeExchanges(inbox bool) completer {
	return first(func(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return p.look(prefix, func(ctx context.Context, h *node.Home) (refs []string, err error) {
			f := store.Filter{Limit: 100}
			if inbox {
				f.To = h.Config.Member
			}
			err = h.DB.View(ctx, func(v *store.View) error {
				list, err := v.Exchanges(f)
				for _, e := range list {
					refs = append(refs, e.Ref())
				}
				return err
			})
			return refs, err
		})
	})
}

// completeWaiting offers the releases that wait for a second person.
func (p *program) completeWaiting(cmd *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return first(func(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return p.look(prefix, func(ctx context.Context, h *node.Home) (ids []string, err error) {
			err = h.DB.View(ctx, func(v *store.View) error {
				list, err := v.WaitingByEnd(100)
				for _, r := range list {
					ids = append(ids, r.Draft.Terms.ID)
				}
				return err
			})
			return ids, err
		})
	})(cmd, given, prefix)
}
