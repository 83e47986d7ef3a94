// Entente is the program of one member: its node, and the commands with which its people found an alliance, agree on
// what may be shared, send, receive and open documents, and check the log of what happened.
//
//	entente init alpha --address alpha.example:7443
//	entente send report.pdf --to bravo --agreement harbour-watch --purpose incident-response --label TLP:AMBER
//
// There is one file for each noun. What they share: program.go (the flags and homes), output.go (what goes to a terminal), help.go,
// fail.go (errors and exit codes), args.go (arguments and flags), files.go (files, whole or not at all).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
)

func main() {
	keepPrivate()
	os.Exit(run())
}

// run runs the program once and gives its exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who interrupts again does not want to wait
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		lipgloss.EnableLegacyWindowsANSI(f) // does nothing elsewhere
	}
	p := newProgram()
	err := p.root().ExecuteContext(ctx)
	if err == nil {
		err = p.wrote.err // what could not be printed was not done
	}
	if err == nil {
		return exitDone
	}
	return p.fail(ctx, err)
}

// root is the whole tree of commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "entente",
		Short: "Exchange documents that you must answer for, between organisations that share no administrator",
		Long: `Entente lets organisations that share no administrator exchange documents
they must answer for. Each organisation, a member, runs its own node.
Documents travel sealed; what may be sent is fixed in agreements that the
parties sign; what happened stands in a log that nobody can quietly rewrite
without its key.

New here? "entente demo" shows all of it on this machine in a few seconds.
For members in earnest: init, then charter draft, sign and adopt, then
person add and node, then agreement draft, propose and sign, and send.

A member's keys, configuration and database live in one folder, its home:
--home DIR, else $ENTENTE_HOME, else ~/.entente.

Exit codes: 0 done, 1 failed, 2 misused, 3 refused by a policy.
With --json every command prints one JSON object, or one per line; times are
RFC 3339 in UTC. An error is then one object on stderr:
{"error":{"kind","text","hint","reasons":[{"set","rule","text","needs"}]}}.`,
		Example: `# See the whole story on this machine
entente demo
# Become a member
entente init alpha --address alpha.example:7443
# Send a document, and wait for the receipts
entente send report.pdf --to bravo --agreement harbour-watch \
--purpose incident-response --label TLP:AMBER --wait`,
		Args:              noSuchCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return checkRequired(cmd) },
		Version:           readVersion().Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(p.help)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&p.home, "home", "", "the member's DIR (default $ENTENTE_HOME, else ~/.entente)")
	flags.StringVar(&p.as, "as", "", "the PERSON who asks (default: the only person of this home)")
	flags.BoolVar(&p.json, "json", false, "print JSON, for programs")
	flags.BoolP("help", "h", false, "explain the command")
	root.Flags().BoolP("version", "v", false, "print the version")
	_ = root.RegisterFlagCompletionFunc("as", p.completePersons)
	_ = root.MarkPersistentFlagDirname("home")

	root.AddGroup(&cobra.Group{ID: groupSetup, Title: "become a member"}, &cobra.Group{ID: groupWork, Title: "work with documents"},
		&cobra.Group{ID: groupNode, Title: "run and check a node"}, &cobra.Group{ID: groupLearn, Title: "learn and try"})
	p.add(root, groupSetup, p.initCommand(), p.cardCommand(), p.charterCommand(), p.agreementCommand(), p.policyCommand(), p.personCommand(), p.labelCommand())
	p.add(root, groupWork, asPerson(p.sendCommand()), asPerson(p.outboxCommand()), asPerson(p.retryCommand()), asPerson(p.cancelCommand()), asPerson(p.inboxCommand()), asPerson(p.showCommand()), asPerson(p.openCommand()),
		asPerson(p.approvalsCommand()), asPerson(p.approveCommand()), asPerson(p.whoMayCommand()), p.evidenceCommand())
	p.add(root, groupNode, p.nodeCommand(), p.healthCommand(), asPerson(p.metricsCommand()), p.auditCommand(), p.inspectCommand(), p.benchCommand())
	p.add(root, groupLearn, p.demoCommand(), p.labCommand(), p.foundCommand(), p.versionCommand(), p.completionCommand(), p.manCommand())
	help := helpCommand()
	help.GroupID = groupLearn
	root.SetHelpCommand(help)
	root.AddCommand(help)
	return root
}

const groupSetup, groupWork, groupNode, groupLearn = "setup", "work", "node", "learn"

func (p *program) add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}
