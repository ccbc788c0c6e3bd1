"""Sites: the tensors of a model that an edit may change."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Site:
    """One tensor that an edit may change.

    name   `component.path.of.the.module.parameter`
    reads  for a matrix whose input depends on the prompt alone: the input's name, to be given to
           `Model.linear_input`; "" for every other tensor
    """

    name: str
    reads: str

    def find(self, components: Mapping[str, nn.Module]) -> tuple[nn.Module, str]:
        """Find the tensor in a model.

        Args:
            components: `Model.components`.

        Returns:
            The module that owns the tensor, and the tensor's name in that module.
        """
        component, _, path = self.name.partition(".")
        owner, _, parameter = path.rpartition(".")
        module = components[component].get_submodule(owner)
        while "base_layer" in module._modules:  # a LoRA of PEFT around it
            module = module.get_submodule("base_layer")
        return module, parameter
