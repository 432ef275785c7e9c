"""Shapley values: the fair share of each player in the value of a game, from the value of every subset of players.

A game is a table of values, one row per subset of the players: bit i of the row's number says whether player i is in
it, so row 0 is the empty set and the last row all players. In `lead_shapley` the players are the leads of an ECG.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
from jaxtyping import Bool, Float

from lamae_toolkit.errors import ECGError

MOST_PLAYERS = 20
"""Limit: with more players, a table of all subsets would have more than a million rows."""


@lru_cache(maxsize=32)
def subset_members(players: int) -> Bool[np.ndarray, "s l"]:
    """Which players are in each subset: row s, column i is bit i of s."""
    if not 1 <= players <= MOST_PLAYERS:
        raise ECGError(f"A table of all subsets takes 1 to {MOST_PLAYERS} players, not {players}; use fewer players.")
    members = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 > 0
    members.flags.writeable = False
    return members


def shapley_values(values: Float[np.ndarray, "s *c"]) -> Float[np.ndarray, "l *c"]:
    """The fair share of each player: what it adds to those before it, averaged over all orders of arrival.

    phi_i = sum over S without i of |S|! (l - |S| - 1)! / l! * (v(S + i) - v(S)). The shares sum to the value
    of all players minus the value of the empty set. Source: Shapley, A value for n-person games, 1953.
    """
    return np.tensordot(_shares(_players(values)), values, axes=1)


def shapley_interactions(values: Float[np.ndarray, "s *c"]) -> Float[np.ndarray, "l l *c"]:
    """How much more two players are worth together than one by one (less, where they are redundant).

    I_ij = sum over S without i and j of |S|! (l - |S| - 2)! / (l - 1)! * (v(S + i + j) - v(S + i) - v(S + j) + v(S));
    symmetric, and 0 on the diagonal, where there is no pair. Source: Grabisch and Roubens, An axiomatic approach to
    the concept of interaction among players in cooperative games, 1999.
    """
    return np.tensordot(_pair_shares(_players(values)), values, axes=1)


def grouped(values: Float[np.ndarray, "s *c"], groups: Sequence[Sequence[int]]) -> Float[np.ndarray, "g *c"]:
    """The game whose players are groups of the players: a set of groups has the value of all its members.

    groups: a partition of the players. Source: the quotient game of Owen, Values of games with a priori unions, 1977.

    Two redundant players share their value, so that each alone looks half as important as it is. For example, players
    0 and 1 each know fact A, player 2 knows fact B, and each fact is worth 1:

    >>> facts = np.array([0.0, 1, 1, 1, 1, 2, 2, 2])
    >>> shapley_values(facts).round(3).tolist()
    [0.5, 0.5, 1.0]
    >>> shapley_values(grouped(facts, [(0, 1), (2,)])).round(3).tolist()
    [1.0, 1.0]

    The six limb leads of an ECG are combinations of two independent leads; as one group they get the value of the
    information that they carry.
    """
    players = _players(values)
    if sorted(player for group in groups for player in group) != list(range(players)) or not all(groups):
        raise ECGError(f"Groups must hold each of the {players} players once, and none be empty; these are {groups}.")
    bits = np.array([sum(1 << player for player in group) for group in groups])
    return values[subset_members(len(groups)) @ bits]


def _players(values: np.ndarray) -> int:
    players = len(values).bit_length() - 1
    if players < 1 or len(values) != 2**players:
        raise ECGError(
            f"A game has a value for each subset of its players, 2 or 4 or 8 ..., but this has {len(values)}."
        )
    return players


@lru_cache(maxsize=32)
def _shares(players: int) -> Float[np.ndarray, "l s"]:
    """The coefficient of each subset's value for each player: positive with the player in it, negative without."""
    members = subset_members(players)
    others = members.sum(axis=1, keepdims=True) - members
    weight = np.array([1 / (players * comb(players - 1, size)) for size in range(players)])
    return np.ascontiguousarray((np.where(members, 1, -1) * weight[others]).T)


@lru_cache(maxsize=4)
def _pair_shares(players: int) -> Float[np.ndarray, "l l s"]:
    """The coefficient of each subset's value for each pair: positive with both or neither in it, negative with one."""
    shares = np.zeros((players, players, 2**players))
    if players == 1:
        return shares
    members = subset_members(players).T
    size = members.sum(axis=0)
    weight = np.array([1 / ((players - 1) * comb(players - 2, others)) for others in range(players - 1)])
    for one in range(players):
        for other in range(one):
            sign = np.where(members[one] == members[other], 1, -1)
            shares[one, other] = sign * weight[size - members[one] - members[other]]
            shares[other, one] = shares[one, other]
    return shares
