package rpc

import (
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"entente.example/internal/identity"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// who may call a method. The zero value is nobody.
type who int

const (
	nobody  who = iota
	peers       // other members' nodes, in good standing
	anyPeer     // other members' nodes, also of those that are suspended or in doubt: what they need to learn why, and to keep their word
	people      // our own people; which role a person needs is for policy and the node to say
	anyOfUs     // our own people and our own node
)

// mayCall is the table of who may call which method. What is not in it nobody may call.
func mayCall(method string) who {
	switch method {
	case ententev1.PeerService_Return_FullMethodName,
		ententev1.PeerService_Witness_FullMethodName,
		ententev1.PeerService_Tell_FullMethodName:
		return anyPeer

	case ententev1.PeerService_Deliver_FullMethodName,
		ententev1.PeerService_Consistency_FullMethodName,
		ententev1.PeerService_Prove_FullMethodName,
		ententev1.PeerService_Reconcile_FullMethodName,
		ententev1.PeerService_Concluded_FullMethodName,
		ententev1.PeerService_ReadLog_FullMethodName,
		ententev1.PeerService_Agree_FullMethodName,
		ententev1.PeerService_Notify_FullMethodName,
		ententev1.PeerService_Rehearse_FullMethodName:
		return peers

	case ententev1.NodeService_Send_FullMethodName,
		ententev1.NodeService_List_FullMethodName,
		ententev1.NodeService_Show_FullMethodName,
		ententev1.NodeService_Open_FullMethodName,
		ententev1.NodeService_Evidence_FullMethodName,
		ententev1.NodeService_ReconcileWith_FullMethodName,
		ententev1.NodeService_FetchLog_FullMethodName,
		ententev1.NodeService_Learn_FullMethodName,
		ententev1.NodeService_Propose_FullMethodName,
		ententev1.NodeService_Proposals_FullMethodName,
		ententev1.NodeService_SignProposal_FullMethodName,
		ententev1.NodeService_DeclineProposal_FullMethodName,
		ententev1.NodeService_Withdraw_FullMethodName,
		ententev1.NodeService_RehearseSend_FullMethodName,
		ententev1.NodeService_Approvals_FullMethodName,
		ententev1.NodeService_Approve_FullMethodName,
		ententev1.NodeService_Retry_FullMethodName,
		ententev1.NodeService_Cancel_FullMethodName:
		return people

	case grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName:
		return people

	case grpc_health_v1.Health_Check_FullMethodName:
		return anyOfUs // `entente health` in a container has no person at hand

	case grpc_health_v1.Health_Watch_FullMethodName, // it would hold up every shutdown
		grpc_health_v1.Health_List_FullMethodName: // Check answers for the whole node
		return nobody
	}
	return nobody
}

// includes tells whether the caller is one of these. self is the name of our own member.
func (w who) includes(self string, c identity.Caller) bool {
	switch w {
	case peers:
		return c.Node && c.Member != self && c.Standing == statement.GoodStanding
	case anyPeer:
		return c.Node && c.Member != self
	case people:
		return c.Person != "" && c.Member == self
	case anyOfUs:
		return c.Member == self && (c.Node || c.Person != "")
	case nobody:
	}
	return false
}
