"""Real-time chunking (LeRobot's RTC) for a policy that can be guided by its plan; what is done for others."""

from typing import TYPE_CHECKING, Any, cast

from lerobot.configs import RTCAttentionSchedule
from lerobot.policies.rtc.configuration_rtc import RTCConfig

from so101_policy.command_line.command_shell import say
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import ConfigError

if TYPE_CHECKING:
    from so101_policy.inference.loaded import LoadedPolicy

STEPS = ("num_steps", "num_inference_steps")
"""LeRobot's names for how many denoising steps a policy of flow matching takes."""


def settle(config: RunConfig, policy: "LoadedPolicy") -> None:
    """Have the policy guided, if that was asked for.

    Raises:
        ConfigError: it was asked for, and the policy cannot be, or is not played asynchronously.
    """
    flags = config.policy.rtc
    if flags.enabled == "false":
        return
    horizon = flags.execution_horizon
    policy_config = cast(Any, policy).policy.config
    # a step goes 1/steps of what guidance says, and the first has the whole weight
    steps = next((getattr(policy_config, name) for name in STEPS if hasattr(policy_config, name)), 10)
    rtc = RTCConfig(
        prefix_attention_schedule=RTCAttentionSchedule[flags.prefix_attention_schedule],
        max_guidance_weight=flags.max_guidance_weight or float(steps),
        execution_horizon=horizon,
    )
    if (use := getattr(cast(Any, policy), "use_rtc", None)) is not None:
        use(rtc)
    if not policy.guided:
        why = (
            f"a {policy.type} cannot be guided by its own plan (of LeRobot's types SmolVLA, pi0 and pi05 can)"
        )
        if flags.enabled == "true":
            raise ConfigError(
                f"--policy.rtc.enabled=true: {why}; leave it out, and chunks are joined by a cross-fade"
            )
        say(f"no real-time chunking, chunks are cross-faded: {why}")
        return
    if config.chunks.mode not in ("auto", "asynchronous"):
        raise ConfigError(
            f"--policy.rtc.enabled={flags.enabled} with --chunks.mode={config.chunks.mode}: real-time chunking joins "
            "chunks that are asked for while another is played; expected --chunks.mode=asynchronous"
        )
    if horizon >= policy.chunk_size:
        raise ConfigError(
            f"--policy.rtc.execution_horizon={horizon}: expected less than the {policy.chunk_size} actions of a chunk"
        )
