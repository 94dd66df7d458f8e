"""The engines of the fake."""

from mlc_llm.serve.engine import AsyncMLCEngine, EngineConfig, MLCEngine

__all__ = ["AsyncMLCEngine", "EngineConfig", "MLCEngine"]
