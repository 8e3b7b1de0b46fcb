# Formula for a tap. `make release` writes it into dist with the version and the hash of the source
# distribution. pip installs the dependencies as wheels, because PyTorch has no source distribution;
# homebrew-core wants each as a resource.
class DycokeCli < Formula
  desc "Video question answering with training-free visual token compression"
  homepage "https://pypi.org/project/dycoke-cli/"
  url "https://files.pythonhosted.org/packages/source/d/dycoke-cli/@SDIST@"
  sha256 "@SHA256@"
  license "Apache-2.0"

  depends_on "python@3.13"

  def install
    system Formula["python@3.13"].opt_bin/"python3.13", "-m", "venv", libexec
    system libexec/"bin/pip", "install", buildpath
    bin.install_symlink libexec/"bin/dycoke"
    man1.install_symlink libexec/"share/man/man1/dycoke.1"
    bash_completion.install_symlink libexec/"share/bash-completion/completions/dycoke"
    zsh_completion.install_symlink libexec/"share/zsh/site-functions/_dycoke"
    fish_completion.install_symlink libexec/"share/fish/vendor_completions.d/dycoke.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/dycoke --version")
    system bin/"dycoke", "demo"
  end
end
